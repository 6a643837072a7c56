/** Several providers of one channel: asked in their order, and never two of them for what may have arrived. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';
import { startMailServer } from '../harness/mail-server.ts';

let server: TestServer;
let first: Receiver;
let second: Receiver;
/** What each does with the next messages; a number is a status. */
let plans: { first: (number | 'hang')[]; second: (number | 'hang')[] };

async function carrier(name: 'first' | 'second'): Promise<Receiver> {
  return startReceiver((response) => {
    const plan = plans[name].shift() ?? 200;
    if (plan !== 'hang') response.writeHead(plan).end();
  });
}

beforeAll(async () => {
  plans = { first: [], second: [] };
  [first, second] = [await carrier('first'), await carrier('second')];
  const provider = (receiver: Receiver) => ({ name: 'gateway', options: { url: `http://127.0.0.1:${receiver.port}/` } });
  server = await startServer({
    channels: { sms: { enabled: true, retry: [60_000, 60_000, 60_000], providers: [provider(first), provider(second)] } },
    'delivery.total_timeout': 1_500,
    'delivery.lease': 60_000,
  });
});
afterAll(async () => {
  await server.stop();
  await Promise.all([first.close(), second.close()]);
});
beforeEach(() => {
  plans = { first: [], second: [] };
});

const ids = ({ requests }: Receiver, from: number) => requests.slice(from).map(({ body }) => JSON.parse(body).id as string);

/** Runs until nothing is left to try; each provider's attempts, with the delivery's id, and the timeline. */
async function deliver(user: string, plan: Partial<typeof plans>) {
  plans = { ...plans, ...plan };
  const [before, beforeSecond] = [first.requests.length, second.requests.length];
  const { body } = await server.api('POST', '/v1/notifications', {
    to: [{ user_id: user, phone: '+15558675310' }],
    subject: 's',
    channels: ['sms'],
  });
  let detail: { status: string; reason: string; timeline: { what: string; provider?: string; outcome?: string }[] } | undefined;
  await expect
    .poll(
      async () => {
        const { body: event } = await server.api('GET', `/v1/events/${body.id}`);
        const [delivery] = event.notifications[0]?.deliveries ?? [];
        if (delivery?.reason === 'retrying' && delivery.next_attempt_at !== null) await server.moveClock(80_000);
        detail = delivery && (await server.api('GET', `/v1/deliveries/${delivery.id}`)).body;
        return detail?.status;
      },
      { timeout: 25_000 },
    )
    .toMatch(/delivered|failed/);
  const attempts = detail!.timeline.filter(({ what }) => what === 'attempt').map(({ provider, outcome }) => `${provider} ${outcome}`);
  return { status: detail!.status, attempts, first: ids(first, before), second: ids(second, beforeSecond) };
}

test('a refusal for now moves on at once, under the same id', async () => {
  const { status, attempts, first: asked, second: then } = await deliver('ada', { first: [503] });
  expect(status).toBe('delivered');
  expect(attempts).toEqual(['sms.gateway transient', 'sms.gateway-2 accepted']);
  expect(then).toEqual(asked);
});

test('when all refuse there is a wait, then the first again: within the same number of attempts', async () => {
  const { status, attempts } = await deliver('bob', { first: [503, 503], second: [503, 503] });
  expect(status).toBe('failed');
  expect(attempts).toEqual(['sms.gateway transient', 'sms.gateway-2 transient', 'sms.gateway transient', 'sms.gateway-2 transient']);
});

test('what may have arrived is tried again with the same provider and id, before another is asked', async () => {
  const { status, attempts, first: asked, second: then } = await deliver('eve', { first: ['hang', 503] });
  expect(status).toBe('delivered');
  expect(attempts).toEqual(['sms.gateway unknown', 'sms.gateway transient', 'sms.gateway-2 accepted']);
  expect(asked).toHaveLength(2);
  expect(new Set([...asked, ...then]).size).toBe(1);
});

test('a message that is refused for good is not offered to another', async () => {
  const { status, attempts } = await deliver('joe', { first: [400] });
  expect([status, attempts]).toEqual(['failed', ['sms.gateway permanent']]);
});

test('mail goes to the next server when the first is not there', async () => {
  const closed = await startMailServer({});
  await closed.close();
  const mail = await startMailServer({});
  const options = { host: '127.0.0.1', port: mail.port, security: 'none', from: 'bell@example.org' };
  const sender = await startServer({
    channels: { email: { enabled: true, providers: [{ name: 'smtp', options }] } },
    'email.smtp.host': '127.0.0.1',
    'email.smtp.port': closed.port,
    'email.smtp.security': 'none',
    'email.smtp.from': 'bell@example.org',
  });
  await sender.api('POST', '/v1/notifications', { to: [{ user_id: 'ada', email: 'ada@example.org' }], subject: 's', channels: ['email'] });
  await expect.poll(() => mail.mails.length, { timeout: 20_000 }).toBe(1);
  const { body } = await sender.api('GET', '/v1/deliveries?channel=email');
  expect(body.data).toMatchObject([{ status: expect.stringMatching(/delivered|sending/), attempt_count: 2 }]);
  await sender.stop();
  await mail.close();
});
