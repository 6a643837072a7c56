/** What the preview says is what then happens: the same decisions, and the same bytes at the far ends (promise 7). */
import fc from 'fast-check';
import PostalMime from 'postal-mime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, nowOf } from '../harness/core.ts';
import { startMailServer, type MailServer } from '../harness/mail-server.ts';
import { startReceiver, type Receiver } from '../harness/receiver.ts';
import { startServer, type TestServer } from '../harness/server.ts';
import { randomCase, type Case } from './fixtures/random-events.ts';

/** A failure says which seed to set here. */
const seed = Number(process.env.CARILLON_TEST_SEED ?? Math.trunc(performance.timeOrigin + performance.now()) % 2 ** 31);
const numRuns = Number(process.env.CARILLON_TEST_RUNS ?? 12);
const MINUTE = 60_000;
const NEAR = 1_500;
const DAY = 86_400_000;

let server: TestServer;
let mails: MailServer;
let receiver: Receiver;
beforeAll(async () => {
  console.log(`fast-check: CARILLON_TEST_SEED=${seed}`);
  receiver = await startReceiver((response, { path }) => response.writeHead(path.startsWith('/teams/') ? 202 : 200).end('ok'));
  mails = await startMailServer();
  const smtp = { 'email.smtp.host': '127.0.0.1', 'email.smtp.port': mails.port, 'email.smtp.security': 'none' } as const;
  // Templates have their time on a busy machine too.
  server = await startServer({ ...smtp, 'email.smtp.from': 'bell@carillon.example', 'catalog.deadline': 10_000 });
});
afterAll(async () => {
  await server.stop();
  await mails.close();
  await receiver.close();
});

async function call(method: string, path: string, body?: unknown) {
  const { status, body: answer } = await server.api(method, path, body);
  expect(status, `${method} ${path} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`).toBeLessThan(300);
  return answer;
}

async function setUp({ people, defaults, files, destinations }: Case, run: string): Promise<void> {
  await call('PUT', '/v1/preferences/defaults', defaults);
  // Destinations name only what the catalog has.
  const known = files ?? (destinations.length > 0 ? { 'event.yaml': '' } : undefined);
  if (known) await call('PUT', `/v1/event-types/type-${run}`, { files: known });
  for (const { id, profile, preferences, suppressed } of people) {
    if (profile) await call('PUT', `/v1/users/${id}`, profile);
    if (preferences) await call('PUT', `/v1/users/${id}/preferences`, preferences);
    if (suppressed !== undefined) await call('POST', '/v1/suppressions', { channel: 'email', address: suppressed });
  }
  for (const destination of destinations) await call('POST', '/v1/destinations', destination);
}

/** A few seconds into a minute: what changes on the minute does not change while the event is on its way. */
const inMinutes = (from: Date, minutes: number) => new Date(Math.floor(from.getTime() / MINUTE + minutes) * MINUTE + 5_000);
async function moveTo(time: Date): Promise<void> {
  const ms = time.getTime() - (await nowOf(server.db)).getTime();
  if (ms > 0) await server.moveClock(ms);
}

/* eslint-disable @typescript-eslint/no-explicit-any -- whatever JSON came */
interface Decision {
  /** A user's id, or a destination's. */
  readonly who: string;
  readonly channel: string;
  readonly result: string;
  readonly reason: string | null;
  readonly until: string | null;
  /** Masked, of the destinations that have several. */
  readonly address: string | null;
}
const nameOf = ({ until, ...one }: Decision) => JSON.stringify({ ...one, waits: until !== null });
/** Delays, digests and expiries are counted from the moment of acceptance, which comes a little later for real. */
const LATER = 30_000;
function expectSame(seen: readonly Decision[], real: readonly Decision[], id: string): void {
  const sorted = (all: readonly Decision[]) => all.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  expect(sorted(seen).map(nameOf), id).toEqual(sorted(real).map(nameOf));
  const waits = sorted(real).map(({ until }) => Date.parse(until ?? '') || 0);
  for (const [index, { until, ...one }] of sorted(seen).entries())
    expect(Math.abs((Date.parse(until ?? '') || 0) - waits[index]!), `${id} ${JSON.stringify(one)}`).toBeLessThan(LATER);
}
const WAITING = ['quiet_hours_held', 'delayed', 'digest_waiting'];

function foreseen(preview: any): Decision[] {
  const of = (who: string) => (one: any) => ({
    who,
    channel: one.channel,
    result: one.result === 'deliver' && one.content === null ? 'fail' : one.result,
    reason: one.result === 'deliver' && one.content === null ? 'template_failed' : one.reason,
    until: one.held_until,
    address: one.address,
  });
  return [
    ...preview.recipients.flatMap((told: any) => told.channels.map(of(told.user_id))),
    ...preview.destinations.flatMap((one: any) => [one].map(of(one.destination_id))),
  ];
}

function happened(event: any): Decision[] {
  const sent = [...event.notifications.flatMap((one: any) => one.deliveries), ...event.deliveries].filter(
    (one) => one.status !== 'skipped',
  );
  return [
    ...sent.map((one: any) => {
      const waits = WAITING.includes(one.reason);
      return {
        who: one.user_id ?? one.destination_id,
        channel: one.channel,
        result: waits ? 'hold' : one.status === 'failed' ? 'fail' : 'deliver',
        reason: waits || one.status === 'failed' ? one.reason : null,
        until: waits ? one.next_attempt_at : null,
        address: one.address,
      };
    }),
    ...event.skipped.map((one: any) => ({
      who: one.user_id ?? one.destination_id,
      channel: one.channel,
      result: 'skip',
      reason: one.reason,
      until: null,
      address: null,
    })),
  ];
}

/** Ids and the time of acceptance are the event's own. */
const withoutIds = (body: string) =>
  body.replace(/"(event_id|notification_id)":("[^"]*"|null)/g, '"$1":"…"').replace(/"timestamp":"[^"]*"/, '"timestamp":"…"');
const unix = (words: string | undefined) => (words ?? '').replaceAll('\r\n', '\n').trim();

/** What far ends got since, by channel and whom it was for. */
async function received(since: { requests: number; mails: number }): Promise<Map<string, string[]>> {
  const posted = receiver.requests
    .slice(since.requests)
    .map(({ path, body }) => [path.slice(1).replace('/', ' '), withoutIds(body)] as const);
  const mailed = mails.mails.slice(since.mails).map(async ({ to, raw }) => {
    const { subject, html, text } = await PostalMime.parse(raw);
    return [`email ${to[0]}`, JSON.stringify([subject ?? '', unix(html), unix(text)])] as const;
  });
  const all = [...posted, ...(await Promise.all(mailed))];
  return new Map([...Map.groupBy(all, ([name]) => name)].map(([name, ones]) => [name, ones.map(([, bytes]) => bytes).sort()]));
}
const mark = () => ({ requests: receiver.requests.length, mails: mails.mails.length });

/** The bytes that this content is on the wire, as `received` reads them. */
function wire({ channel, content }: any): string {
  if (channel === 'webhook') return withoutIds(content.body);
  if (channel !== 'email') return JSON.stringify(content);
  return JSON.stringify([content.subject, unix(content.html), unix(content.text)]);
}

/** What the far ends would get of all that has this result. `run` is part of every address. */
function expected(preview: any, result: string, run: string, which: (one: any) => boolean = () => true): Map<string, string[]> {
  const ofUsers = preview.recipients.flatMap((told: any) => told.channels.map((one: any) => ({ ...one, to: told.user_id })));
  const ofOps = preview.destinations.map((one: any) => ({ ...one, to: one.address?.startsWith('m…') ? `more-${run}` : `ops-${run}` }));
  const all = [...ofUsers, ...ofOps].filter(
    (one) => one.result === result && one.content !== null && one.channel !== 'in_app' && which(one),
  );
  const name = ({ channel, to }: any) => `${channel} ${to}${channel === 'email' ? '@example.org' : ''}`;
  return new Map([...Map.groupBy(all, name)].map(([key, ones]) => [key, ones.map(wire).sort()]));
}

const busy = ({ notifications, deliveries }: any) =>
  [...notifications.flatMap((one: any) => one.deliveries), ...deliveries].filter(
    ({ status, reason }) => status === 'sending' || (status === 'pending' && reason !== 'delayed'),
  ).length;
const settled = (event: any) => ['routed', 'expired'].includes(event.status) && busy(event) === 0;

/** Previews, sends, and compares. Resolves with the preview and the event. */
async function compare(body: object, at: Date | undefined, { scheduled, run }: { scheduled: Date | undefined; run: string }) {
  const preview = await call('POST', '/v1/events/preview', { ...body, at });
  if (at) await moveTo(at);
  const since = mark();
  const { id } = await call('POST', 'type' in body ? '/v1/events' : '/v1/notifications', body);
  if (scheduled) await moveTo(new Date(scheduled.getTime() - NEAR)); // what is due in a jump may be decided before this process has followed it
  const read = () => call('GET', `/v1/events/${id}`);
  await eventually(async () => settled(await read())).toBe(true);
  const event = await read();
  expectSame(foreseen(preview), happened(event), id);
  expect({ ...pick(preview), recipients: preview.recipient_count }, id).toEqual({ ...pick(event), recipients: event.counts.recipients });
  const got = await received(since);
  const own = new Map([...got].filter(([name]) => name.includes(run))); // the clock also releases what runs before have held
  expect(own, id).toEqual(expected(preview, 'deliver', run));
  for (const one of event.notifications) await compareInbox(preview, one);
  return { preview, event };
}
const pick = ({ type, version, severity, tags, data, warnings }: any) => ({ type, version, severity, tags, data, warnings });

async function compareInbox(preview: any, { id, user_id: user }: any): Promise<void> {
  const told = preview.recipients.find((one: any) => one.user_id === user);
  const kept = await call('GET', `/v1/notifications/${id}`);
  expect({ subject: told.subject, body: told.body }).toEqual({ subject: kept.subject, body: kept.body });
  const warned = kept.timeline.filter(({ what }: any) => what === 'warning');
  const on = (channel: string | undefined) => warned.filter((line: any) => line.channel === channel).map(({ detail }: any) => detail);
  expect([...preview.warnings, ...told.warnings]).toEqual(on(undefined));
  for (const one of told.channels.filter(({ result, content }: any) => result === 'deliver' && content !== null))
    expect(one.warnings, one.channel).toEqual(on(one.channel));
  const inbox = told.channels.find((one: any) => one.channel === 'in_app' && one.result === 'deliver');
  const { subject, body, action_url, severity, tags, metadata } = kept;
  if (inbox) expect(inbox.content).toEqual({ subject, body, action_url, severity, tags, metadata });
}

/** What was held goes out as it was foreseen, where nothing holds or stops it again. */
async function compareHeld(rounds: readonly { preview: any; event: any }[], run: string): Promise<void> {
  const held = rounds
    .flatMap(({ preview }) => [...preview.recipients.flatMap((one: any) => one.channels), ...preview.destinations])
    .filter((one) => one.held_until);
  const last = Math.max(0, ...held.map((one) => Date.parse(one.held_until)));
  if (last === 0 || last - (await nowOf(server.db)).getTime() > 2 * DAY) return;
  const digested = new Set(
    rounds.flatMap(({ preview }) => [...expected(preview, 'hold', run, (one) => one.reason === 'digest_waiting').keys()]),
  );
  const since = mark();
  await moveTo(new Date(last + MINUTE));
  const foreseenBytes = rounds.map(({ preview }) => expected(preview, 'hold', run));
  for (const { event } of rounds) await eventually(async () => busy(await call('GET', `/v1/events/${event.id}`))).toBe(0);
  for (const [name, bodies] of await received(since)) {
    if (!name.includes(run) || digested.has(name)) continue;
    const wanted = foreseenBytes.flatMap((one) => one.get(name) ?? []);
    for (const body of bodies) expect(wanted, name).toContain(body);
  }
}

let runs = 0;
test('for random people, types, events and times', { timeout: 600_000 }, async () => {
  const base = `http://127.0.0.1:${receiver.port}`;
  // Names are put in when a run begins: shrinking runs a case again, with people of its own.
  const cases = randomCase({ base, run: 'RUN' }).map((one) => JSON.stringify(one));
  await fc.assert(
    fc.asyncProperty(cases, async (text) => {
      const run = `r${seed}x${++runs}`;
      const one = JSON.parse(text.replaceAll('RUN', run)) as Case;
      await setUp(one, run);
      const at = inMinutes(await nowOf(server.db), one.minutes.ahead);
      const { scheduled: later, expires } = one.minutes;
      const scheduled = later === undefined ? undefined : inMinutes(at, later);
      const body = { ...one.body, scheduled_for: scheduled, expires_at: expires === undefined ? undefined : inMinutes(at, expires) };
      const rounds = [await compare(body, at, { scheduled, run })];
      if (!scheduled) rounds.push(await compare(body, undefined, { scheduled, run })); // a throttle counts the first
      await compareHeld(rounds, run);
    }),
    { seed, numRuns, endOnFailure: true },
  );
});
/* eslint-enable @typescript-eslint/no-explicit-any */
