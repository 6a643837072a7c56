/** What becomes of a delivery whose far end does not take it: retries by policy, refusals, and what stops them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { publicId } from '../../src/lib/id.ts';
import { deliveriesOf, deliveryOf, entriesOf, eventState, eventually, nowOf, type DeliveryRow } from '../harness/core.ts';
import { startMailServer, type MailBehaviour } from '../harness/mail-server.ts';
import { startReceiver, type Answer, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const POLICY = [5 * SECOND, 5 * MINUTE, 30 * MINUTE] as const;

let server: TestServer;
let receiver: Receiver;
let answer: Answer;
let names = 0;
/** A user, and a path at the receiver, of each test's own. */
let user: string;

const ok: Answer = (response) => response.end();
const failing =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(status, headers).end('not now');

beforeAll(async () => {
  receiver = await startReceiver((response, request) => answer(response, request));
  server = await startServer({ 'webhook.retry': POLICY });
});
afterAll(async () => {
  await server.stop();
  await receiver.close();
});
beforeEach(() => {
  user = `user-${++names}`;
  answer = failing(503);
});

const hook = () => `http://127.0.0.1:${receiver.port}/${user}`;
const requests = () => receiver.requests.filter(({ path }) => path === `/${user}`);

async function send(more: Record<string, unknown> = {}): Promise<string> {
  const item = { type: 'disk.full', to: [{ user_id: user, webhook_url: hook() }], channels: ['webhook'], ...more };
  const reply = await server.api('POST', '/v1/events', item);
  expect(reply.status).toBe(202);
  return reply.body.id;
}

/** Once that many attempts have been recorded and nothing is being sent. */
async function after(attempts: number, id: string): Promise<DeliveryRow> {
  await eventually(async () => {
    const { attempts: made, state } = await deliveryOf(server.db, id);
    return { made, sending: state === 'sending' };
  }).toEqual({ made: attempts, sending: false });
  return deliveryOf(server.db, id);
}

async function waitMs(row: DeliveryRow): Promise<number> {
  return row.dueAt!.getTime() - (await nowOf(server.db)).getTime();
}

function expectAbout(ms: number, policyMs: number): void {
  expect(ms).toBeGreaterThan(policyMs * 0.8 - 5 * SECOND);
  expect(ms).toBeLessThanOrEqual(policyMs * 1.2);
}

describe('a webhook that fails', () => {
  test('is tried again by policy, and given up after the last attempt; the timeline says all of it', async () => {
    const id = await send();
    for (const [index, policyMs] of POLICY.entries()) {
      const row = await after(index + 1, id);
      expect(row).toMatchObject({ state: 'pending', reason: 'retrying' });
      expectAbout(await waitMs(row), policyMs);
      await server.moveClock(policyMs * 1.2);
    }
    const last = await after(4, id);
    expect(last).toMatchObject({ state: 'failed', reason: 'retries_exhausted', dueAt: null });
    expect(requests()).toHaveLength(4);
    const sent = requests().map(({ headers, body }) => [headers['webhook-id'], body]);
    expect(new Set(sent.map((one) => JSON.stringify(one))).size).toBe(1);

    const entries = await entriesOf(server.db, last.id);
    expect(entries.map(({ number, kind, reason, status }) => ({ number, kind, reason, status }))).toEqual(
      [1, 2, 3, 4].map((number) => ({ number, kind: 'attempt', reason: 'provider_error', status: 503 })),
    );
    expect(entries.map(({ next_attempt_at: next }) => next !== null)).toEqual([true, true, true, false]);
    await server.moveClock(48 * HOUR);
    expect(await after(4, id)).toMatchObject({ state: 'failed' });
  });

  test('and then succeeds is delivered', async () => {
    const id = await send();
    await after(1, id);
    answer = ok;
    await server.moveClock(POLICY[0] * 1.2);
    const row = await after(2, id);
    expect(row).toMatchObject({ state: 'delivered', reason: 'sent', dueAt: null });
    expect((await entriesOf(server.db, row.id)).map(({ reason }) => reason)).toEqual(['provider_error', 'sent']);
  });

  test('with retries of its own number has those', async () => {
    const none = await send({ max_retries: 0 });
    expect(await after(1, none)).toMatchObject({ state: 'failed', reason: 'retries_exhausted' });
    user = `${user}-five`;
    const five = await send({ max_retries: 5 });
    for (let attempts = 1; attempts <= 5; attempts++) {
      expect(await after(attempts, five)).toMatchObject({ state: 'pending' });
      await server.moveClock(HOUR);
    }
    expect(await after(6, five)).toMatchObject({ state: 'failed', reason: 'retries_exhausted' });
  });

  test.each([
    ['an hour and a half, cut at one hour', 503, '5400', HOUR],
    ['with 429 up to a day', 429, '36000', 10 * HOUR],
    ['with 429 no longer than a day', 429, '999999', 24 * HOUR],
    ['less than the policy, which counts', 503, '1', POLICY[0]],
    ['nonsense, which is ignored', 503, 'soon', POLICY[0]],
  ])('Retry-After: %s', async (_, status, retryAfter, wanted) => {
    answer = failing(status, { 'retry-after': retryAfter });
    const row = await after(1, await send());
    const ms = await waitMs(row);
    if (wanted === POLICY[0]) expectAbout(ms, wanted);
    else {
      expect(ms).toBeGreaterThan(wanted - 10 * SECOND);
      expect(ms).toBeLessThanOrEqual(wanted);
    }
  });

  test('with 410 is failed at once, and a stored address is not used again until there is a new one', async () => {
    await server.api('PUT', `/v1/users/${user}`, { webhook_url: hook() });
    answer = failing(410);
    const first = await after(1, await send({ to: [user] }));
    expect(first).toMatchObject({ state: 'failed', reason: 'address_gone' });
    await eventually(async () => {
      const [row] = await server.db.query<{ gone: string }>("select suppressed ->> 'webhook' as gone from carillon.users where id = $1", [
        user,
      ]);
      return row?.gone;
    }).toBe(hook());
    expect(await deliveryOf(server.db, await send({ to: [user] }))).toMatchObject({ state: 'skipped', reason: 'suppressed' });

    answer = ok;
    await server.api('PUT', `/v1/users/${user}`, { webhook_url: `${hook()}/moved` });
    expect(await after(1, await send({ to: [user] }))).toMatchObject({ state: 'delivered' });
  });

  test('waits no longer than its expiry', async () => {
    const expires = async (ms: number) => new Date((await nowOf(server.db)).getTime() + ms).toISOString();
    const soon = await send({ expires_at: await expires(2 * SECOND) });
    expect(await after(1, soon)).toMatchObject({ state: 'expired', reason: 'expired' });
    user = `${user}-later`;
    const later = await send({ expires_at: await expires(MINUTE) });
    await after(1, later);
    await server.moveClock(2 * MINUTE);
    await eventually(async () => (await deliveryOf(server.db, later)).state).toBe('expired');
    expect(requests()).toHaveLength(1);
  });
});

describe('a person', () => {
  test('tries again what was given up, and a full policy follows', async () => {
    const id = await send({ max_retries: 0 });
    const { id: uuid } = await after(1, id);
    const retry = () => server.api('POST', `/v1/deliveries/${publicId('dlv', uuid)}/retry`);
    expect((await retry()).status).toBe(202);
    expect(await after(2, id)).toMatchObject({ state: 'pending', reason: 'retrying' });
    expect((await retry()).status).toBe(409);
    for (let attempts = 3; attempts <= 5; attempts++) {
      await server.moveClock(HOUR);
      await after(attempts, id);
    }
    expect(await deliveryOf(server.db, id)).toMatchObject({ state: 'failed', reason: 'retries_exhausted' });
    answer = ok;
    expect((await retry()).status).toBe(202);
    expect(await after(6, id)).toMatchObject({ state: 'delivered' });
  });

  test('cancels what waits for its retry', async () => {
    const id = await send();
    await after(1, id);
    const { body } = await server.api('POST', `/v1/events/${id}/cancel`);
    expect(body).toMatchObject({ outcome: 'cancelled', cancelled: 1, too_late: 0 });
    await server.moveClock(HOUR);
    expect(await after(1, id)).toMatchObject({ state: 'cancelled', reason: 'cancelled', dueAt: null });
    expect(requests()).toHaveLength(1);
  });

  test('cancels what has not begun', async () => {
    const id = await send({ scheduled_for: new Date((await nowOf(server.db)).getTime() + MINUTE).toISOString() });
    expect((await server.api('POST', `/v1/events/${id}/cancel`)).body).toMatchObject({ outcome: 'cancelled', too_late: 0 });
    await server.moveClock(2 * MINUTE);
    expect(await eventState(server.db, id)).toBe('cancelled');
    expect(await deliveriesOf(server.db, id)).toEqual([]);
    expect(requests()).toEqual([]);
  });

  test('comes too late for what is being sent, and no retry follows it', async () => {
    const release: (() => void)[] = [];
    answer = (response) => release.push(() => response.writeHead(503).end());
    const id = await send();
    await eventually(() => requests().length).toBe(1);
    const { body } = await server.api('POST', `/v1/events/${id}/cancel`);
    expect(body).toMatchObject({ outcome: 'too_late', cancelled: 0, too_late: 1, sent_at: expect.any(String) });
    for (const one of release) one();
    expect(await after(1, id)).toMatchObject({ state: 'cancelled', reason: 'cancelled', dueAt: null });
    await server.moveClock(HOUR);
    expect(requests()).toHaveLength(1);
  });
});

describe('the gate', () => {
  const opting = (enabled: boolean) => server.api('PUT', `/v1/users/${user}/preferences`, { channels: { webhook: { enabled } } });

  test.each([
    ['opts out', 'opted_out', () => opting(false)],
    ['is deactivated', 'user_inactive', () => server.api('PUT', `/v1/users/${user}`, { active: false })],
  ])('stops a retry when the user %s meanwhile, and says so', async (_, reason, stop) => {
    const id = await send();
    await after(1, id);
    expect((await stop()).status).toBe(200);
    await server.moveClock(MINUTE);
    await eventually(async () => (await deliveryOf(server.db, id)).state).toBe('skipped');
    const row = await deliveryOf(server.db, id);
    expect(row).toMatchObject({ reason, attempts: 1, dueAt: null });
    expect((await entriesOf(server.db, row.id)).map(({ kind, reason: why }) => [kind, why])).toEqual([
      ['attempt', 'provider_error'],
      ['gate', reason],
    ]);
    expect(requests()).toHaveLength(1);
  });

  test('never revives what was skipped', async () => {
    await server.api('PUT', `/v1/users/${user}`, { webhook_url: hook() });
    await opting(false);
    const id = await send({ to: [user] });
    expect(await deliveryOf(server.db, id)).toMatchObject({ state: 'skipped', reason: 'opted_out' });
    await opting(true);
    await server.moveClock(HOUR);
    expect(await deliveryOf(server.db, id)).toMatchObject({ state: 'skipped', reason: 'opted_out' });
    expect(requests()).toEqual([]);
  });
});

describe('mail over SMTP', () => {
  const cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function mailing(behaviour: MailBehaviour) {
    const mail = await startMailServer(behaviour);
    cleanups.push(mail.close);
    const sender = await startServer({
      'email.smtp.host': '127.0.0.1',
      'email.smtp.port': mail.port,
      'email.smtp.security': 'none',
      'email.smtp.from': 'c@example.org',
      'email.retry': [30 * SECOND, 2 * MINUTE],
    });
    cleanups.push(sender.stop);
    const to = [{ user_id: 'ada', email: 'ada@example.org' }];
    const told = await sender.api('POST', '/v1/notifications', { to, subject: 'Disk almost full', channels: ['email'] });
    const settled = (attempts: number, state: string) =>
      eventually(async () => {
        const row = await deliveryOf(sender.db, told.body.id);
        return [row.attempts, row.state];
      }).toEqual([attempts, state]);
    return { mail, sender, id: told.body.id as string, settled };
  }

  test('is tried again after a transient answer, with the same Message-ID', async () => {
    let refusals = 2;
    const tried: string[] = [];
    const { mail, sender, id, settled } = await mailing({
      rcptTo: (address) => {
        tried.push(address);
        return refusals-- > 0 ? { status: 451, text: 'try later' } : undefined;
      },
    });
    await settled(1, 'pending');
    await sender.moveClock(MINUTE);
    await settled(2, 'pending');
    await sender.moveClock(5 * MINUTE);
    await settled(3, 'delivered');
    expect(tried).toHaveLength(3);
    expect(mail.mails).toHaveLength(1);
    const { id: uuid } = await deliveryOf(sender.db, id);
    expect(mail.mails[0]!.raw).toMatch(new RegExp(`^Message-ID: <${publicId('dlv', uuid)}@example.org>`, 'm'));
    expect((await entriesOf(sender.db, uuid)).map(({ status }) => status)).toEqual([451, 451, 250]);
  });

  test('is the same message on the next attempt when the far end took it and its answer was lost', async () => {
    let answers = 0;
    const { mail, sender, settled } = await mailing({ data: () => (answers++ === 0 ? 'drop' : undefined) });
    await settled(1, 'pending');
    await sender.moveClock(MINUTE);
    await settled(2, 'delivered');
    const ids = mail.mails.map(({ raw }) => /^Message-ID: (.+)$/m.exec(raw)?.[1]);
    expect(ids).toHaveLength(2);
    expect(ids[0]).toMatch(/^<dlv_/);
    expect(ids[1]).toBe(ids[0]);
  });

  test('is failed at once when it is refused for good', async () => {
    const { mail, sender, id, settled } = await mailing({ rcptTo: () => ({ status: 550, text: '5.1.1 no such user' }) });
    await settled(1, 'failed');
    expect(mail.mails).toEqual([]);
    expect((await deliveryOf(sender.db, id)).reason).toMatch(/^address_/);
  });
});
