/**
 * The contract that every provider keeps, as checks that any test runner can run:
 *
 *     for (const { name, run } of providerChecks(subject)) test(name, run);
 *
 * The far end is the author's: a real server that does what each behaviour says.
 */
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { Message, Provider, SendResult } from '../../src/domain/channel.ts';
import type { AttemptReason } from '../../src/domain/reason.ts';

/** What the far end does with the one message that it gets. */
export type Behaviour =
  /** Answers with this status. */
  | number
  /** Takes the whole message and never answers. */
  | 'hang'
  /** Accepts the connection and says nothing. */
  | 'silent'
  /** Takes the whole message and drops the connection. */
  | 'drop'
  /** Is not there. */
  | 'closed'
  /** Refuses for now, with an answer of a megabyte. */
  | 'huge'
  /** Refuses, and repeats in its answer all that it was told, credentials included. */
  | 'echo';

export interface Subject<Address, Content> {
  readonly provider: Provider<Address, Content>;
  readonly message: Message<Address, Content>;
  /** Messages that reached the far end completely. */
  readonly arrived: () => number;
  readonly openSockets: () => number;
  readonly stop: () => Promise<void>;
}

export interface ProviderCase<Address, Content> {
  readonly name: string;
  /** Waits for a silent far end so briefly that a test can; after `hang` at least as long as the message takes to get there. */
  readonly make: (behaviour: Behaviour) => Promise<Subject<Address, Content>>;
  readonly accepts: readonly number[];
  readonly refuses: readonly (readonly [status: number, kind: 'transient' | 'permanent', reason: AttemptReason])[];
  /** Strings that must never appear in a result or an error. */
  readonly secrets: readonly string[];
}

export interface Check {
  readonly name: string;
  readonly run: () => Promise<void>;
}

const MAX_RESPONSE_CHARS = 4_096;
const MAX_DETAIL_CHARS = 300;
const WAIT_MS = 10_000;

export function providerChecks<Address, Content>(subject: ProviderCase<Address, Content>): Check[] {
  return [...answers(subject), ...silences(subject), ...sizes(subject), ...aborts(subject), ...secrecy(subject), ...closing(subject)].map(
    ({ name, run }) => ({ name: `${subject.name}: ${name}`, run }),
  );
}

async function attempt<A, C>({ make }: ProviderCase<A, C>, behaviour: Behaviour): Promise<SendResult> {
  const { provider, message, stop } = await make(behaviour);
  try {
    return await provider.send(message, new AbortController().signal);
  } finally {
    await provider.close();
    await stop();
  }
}

function answers<A, C>(subject: ProviderCase<A, C>): Check[] {
  const accepted = subject.accepts.map((status) => ({
    name: `${status} is accepted, once`,
    run: async () => {
      const { provider, message, arrived, stop } = await subject.make(status);
      const result = await provider.send(message, new AbortController().signal);
      assert.deepEqual([result.kind, result.status], ['accepted', status]);
      assert.equal(arrived(), 1);
      await provider.close();
      await stop();
    },
  }));
  const refused = subject.refuses.map(([status, kind, reason]) => ({
    name: `${status} is ${kind} as ${reason}`,
    run: async () => {
      const result = await attempt(subject, status);
      assert.deepEqual([result.kind, reasonOf(result), result.status], [kind, reason, status]);
      assert.match(detailOf(result), new RegExp(String(status)));
    },
  }));
  return [...accepted, ...refused];
}

function silences<A, C>(subject: ProviderCase<A, C>): Check[] {
  const wanted: [Behaviour, SendResult['kind'], AttemptReason][] = [
    ['hang', 'unknown', 'timeout'],
    ['drop', 'unknown', 'unreachable'],
    ['silent', 'transient', 'timeout'],
    ['closed', 'transient', 'unreachable'],
  ];
  return wanted.map(([behaviour, kind, reason]) => ({
    name: `a far end that does "${behaviour}" is ${kind} as ${reason}`,
    run: async () => {
      const result = await attempt(subject, behaviour);
      assert.deepEqual([result.kind, reasonOf(result), result.status], [kind, reason, undefined]);
    },
  }));
}

function sizes<A, C>(subject: ProviderCase<A, C>): Check[] {
  const run = async () => {
    const result = await attempt(subject, 'huge');
    assert.equal(result.kind, 'transient');
    const kept = result.response?.length ?? 0;
    assert.ok(kept > 1_000 && kept <= MAX_RESPONSE_CHARS, `${kept} characters of the answer were kept`);
    assert.ok(detailOf(result).length <= MAX_DETAIL_CHARS, 'the detail is a line');
  };
  return [{ name: 'of a huge answer 4 KiB are kept', run }];
}

function aborts<A, C>(subject: ProviderCase<A, C>): Check[] {
  const before = async () => {
    const { provider, message, openSockets, arrived, stop } = await subject.make(subject.accepts[0] ?? 200);
    await assert.rejects(provider.send(message, AbortSignal.abort(new Error('shutting down'))), /shutting down/);
    assert.deepEqual([arrived(), openSockets()], [0, 0]);
    await provider.close();
    await stop();
  };
  const during = async () => {
    const { provider, message, arrived, openSockets, stop } = await subject.make('hang');
    const shutdown = new AbortController();
    const sending = provider.send(message, shutdown.signal).catch((error: unknown) => error);
    await until(() => arrived() === 1, 'the message arrives');
    shutdown.abort(new Error('shutting down'));
    assert.match(String(await sending), /shutting down/);
    await until(() => openSockets() === 0, 'the connection is closed');
    await provider.close();
    await stop();
  };
  return [
    { name: 'an attempt under an aborted signal rejects, and nothing arrives', run: before },
    { name: 'shutdown rejects what is being sent, so that the attempt is not counted', run: during },
  ];
}

function secrecy<A, C>(subject: ProviderCase<A, C>): Check[] {
  const behaviours: Behaviour[] = ['echo', 'hang', 'closed', ...subject.refuses.map(([status]) => status)];
  return behaviours.map((behaviour) => ({
    name: `no secret in the result of ${behaviour}`,
    run: async () => {
      const text = JSON.stringify(await attempt(subject, behaviour));
      for (const secret of subject.secrets) assert.ok(!text.includes(secret), 'a secret stands in the result');
    },
  }));
}

function closing<A, C>(subject: ProviderCase<A, C>): Check[] {
  const run = async () => {
    const { provider, message, openSockets, stop } = await subject.make(subject.accepts[0] ?? 200);
    await provider.send(message, new AbortController().signal);
    await provider.close();
    await provider.close();
    await stop();
    await until(() => openSockets() === 0, 'no connection is left');
  };
  return [{ name: 'closing ends idle connections, and twice is as good as once', run }];
}

function reasonOf(result: SendResult): string | undefined {
  return result.kind === 'accepted' ? undefined : result.reason;
}

function detailOf(result: SendResult): string {
  return result.kind === 'accepted' ? '' : result.detail;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `waited in vain until ${what}`);
    await pause(1);
  }
}
