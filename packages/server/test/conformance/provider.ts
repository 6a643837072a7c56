/** The contract that every provider keeps. Each provider's own test calls this with a real far end. */
import { expect, test } from 'vitest';
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

const MAX_RESPONSE_CHARS = 4096;

export function providerContract<Address, Content>(subject: ProviderCase<Address, Content>): void {
  const { name, make, accepts, refuses, secrets } = subject;

  async function attempt(behaviour: Behaviour): Promise<SendResult> {
    const { provider, message, stop } = await make(behaviour);
    try {
      return await provider.send(message, new AbortController().signal);
    } finally {
      await provider.close();
      await stop();
    }
  }

  test.each(accepts)(`${name}: %i is accepted, once`, async (status) => {
    const { provider, message, arrived, stop } = await make(status);
    expect(await provider.send(message, new AbortController().signal)).toMatchObject({ kind: 'accepted', status });
    expect(arrived()).toBe(1);
    await provider.close();
    await stop();
  });

  test.each(refuses)(`${name}: %i is %s as %s`, async (status, kind, reason) => {
    expect(await attempt(status)).toMatchObject({ kind, reason, status, detail: expect.stringContaining(String(status)) });
  });

  const silences: [Behaviour, SendResult['kind'], AttemptReason][] = [
    ['hang', 'unknown', 'timeout'],
    ['drop', 'unknown', 'unreachable'],
    ['silent', 'transient', 'timeout'],
    ['closed', 'transient', 'unreachable'],
  ];
  test.each(silences)(`${name}: a far end that does "%s" is %s as %s`, async (behaviour, kind, reason) => {
    const result = await attempt(behaviour);
    expect(result).toMatchObject({ kind, reason });
    expect(result.status).toBeUndefined();
  });

  test(`${name}: of a huge answer 4 KiB are kept`, async () => {
    const result = await attempt('huge');
    expect(result).toMatchObject({ kind: 'transient' });
    expect(result.response?.length).toBeGreaterThan(1000);
    expect(result.response?.length).toBeLessThanOrEqual(MAX_RESPONSE_CHARS);
    expect('detail' in result ? result.detail.length : 0).toBeLessThanOrEqual(300);
  });

  test(`${name}: an attempt under an aborted signal rejects, and nothing arrives`, async () => {
    const { provider, message, openSockets, arrived, stop } = await make(accepts[0] ?? 200);
    const aborted = AbortSignal.abort(new Error('shutting down'));
    await expect(provider.send(message, aborted)).rejects.toThrow('shutting down');
    expect([arrived(), openSockets()]).toEqual([0, 0]);
    await provider.close();
    await stop();
  });

  test(`${name}: shutdown rejects what is being sent, so that the attempt is not counted`, async () => {
    const { provider, message, arrived, openSockets, stop } = await make('hang');
    const shutdown = new AbortController();
    const sending = provider.send(message, shutdown.signal).catch((error: unknown) => error);
    await expect.poll(arrived, { interval: 1 }).toBe(1);
    shutdown.abort(new Error('shutting down'));
    expect(await sending).toMatchObject({ message: 'shutting down' });
    await expect.poll(openSockets).toBe(0);
    await provider.close();
    await stop();
  });

  test.each(['echo', 'hang', 'closed', ...refuses.map(([status]) => status)] as const)(
    `${name}: no secret in the result of %s`,
    async (behaviour) => {
      const text = JSON.stringify(await attempt(behaviour));
      for (const secret of secrets) expect(text).not.toContain(secret);
    },
  );

  test(`${name}: closing ends idle connections, and twice is as good as once`, async () => {
    const { provider, message, openSockets, stop } = await make(accepts[0] ?? 200);
    await provider.send(message, new AbortController().signal);
    await provider.close();
    await provider.close();
    await stop();
    await expect.poll(openSockets).toBe(0);
  });
}
