import { expect, test } from 'vitest';
import type { RateLimit } from '../domain/tenant.ts';
import type { Caller } from './auth.ts';
import { makeLimits, type Admit, type LimitDeps } from './limits.ts';

const caller = (limits: Partial<Pick<Caller, 'keyLimit' | 'tenantLimit' | 'keyId'>> = {}): Caller => ({
  tenantId: 'acme',
  keyId: 'k1',
  client: 'backend',
  scopes: [],
  keyLimit: null,
  tenantLimit: null,
  counts: { requests: 0, events: 0 },
  ...limits,
});

/** What the database does, with a clock that the test moves. */
function ledger() {
  const used = new Map<string, { window: number; used: number }>();
  const state = { nowMs: 0, asked: 0, away: false };
  const lease: LimitDeps['lease'] = async ({ tenantId, name, limit, wanted }) => {
    state.asked++;
    if (state.away) throw new Error('away');
    const windowMs = limit.window_seconds * 1_000;
    const window = Math.floor(state.nowMs / windowMs);
    const row = used.get(`${tenantId} ${name}`);
    const before = row?.window === window ? row.used : 0;
    const granted = Math.max(0, Math.min(wanted, limit.requests - before));
    used.set(`${tenantId} ${name}`, { window, used: before + granted });
    return { granted, left: limit.requests - before - granted, endsInMs: (window + 1) * windowMs - state.nowMs };
  };
  const process = (keyLimit?: RateLimit, tenantLimit?: RateLimit): Admit =>
    makeLimits({ lease, keyLimit, tenantLimit, monotonicMs: () => state.nowMs });
  return { state, process };
}

interface Seen {
  readonly code: string;
  readonly headers: Record<string, unknown>;
  readonly retryAfterS?: number;
}

async function ask(admit: Admit, who: Caller): Promise<Seen> {
  const headers: Record<string, unknown> = {};
  const reply = {
    header: (name: string, value: unknown) => {
      headers[name] = value;
      return reply;
    },
  } as unknown as Parameters<Admit>[1];
  try {
    await admit(who, reply);
    return { code: 'admitted', headers };
  } catch (error) {
    const { code, retryAfterS } = error as { code: string; retryAfterS: number };
    return { code, headers, retryAfterS };
  }
}

const times = async (count: number, work: () => Promise<Seen>) =>
  (await Promise.all(Array.from({ length: count }, work))).map(({ code }) => code);
const admitted = (codes: readonly string[]) => codes.filter((code) => code === 'admitted').length;

test('without a limit nothing is asked and no header is set', async () => {
  const { state, process } = ledger();
  expect(await ask(process(), caller())).toEqual({ code: 'admitted', headers: {} });
  expect(state.asked).toBe(0);
});

test('while something is lent the answer is there at once', async () => {
  const { process } = ledger();
  const admit = process({ requests: 100, window_seconds: 60 });
  await ask(admit, caller());
  expect(admit(caller(), { header: () => ({ header: () => undefined }) } as never)).toBeUndefined();
});

test('the headers say the policy, what is left, and until when', async () => {
  const { state, process } = ledger();
  const admit = process({ requests: 3, window_seconds: 60 }, { requests: 100, window_seconds: 10 });
  state.nowMs = 4_500;
  expect((await ask(admit, caller())).headers).toEqual({
    'ratelimit-policy': '"default";q=3;w=60, "tenant";q=100;w=10',
    ratelimit: '"default";r=2;t=56, "tenant";r=99;t=6',
  });
  await times(2, () => ask(admit, caller()));
  expect(await ask(admit, caller())).toMatchObject({
    code: 'rate_limited',
    retryAfterS: 56,
    headers: { ratelimit: expect.stringContaining('"default";r=0;t=56') },
  });
});

test('two processes admit the limit together, whatever runs at once, and ask far less often than they are asked', async () => {
  const { state, process } = ledger();
  const limit = { requests: 1_000, window_seconds: 60 };
  const [one, two] = [process(limit), process(limit)];
  const codes = (await Promise.all([times(700, () => ask(one, caller())), times(700, () => ask(two, caller()))])).flat();
  expect(admitted(codes)).toBe(1_000);
  expect(state.asked).toBeLessThanOrEqual(22);
  const before = state.asked;
  expect(admitted(await times(100, () => ask(one, caller())))).toBe(0);
  expect(state.asked).toBe(before); // it is known that nothing is left
});

test('what one process holds unused is all that another one lacks', async () => {
  const { process } = ledger();
  const limit = { requests: 100, window_seconds: 60 };
  const [one, two] = [process(limit), process(limit)];
  await ask(two, caller()); // holds four more
  expect(admitted(await times(200, () => ask(one, caller())))).toBe(95);
});

test('a new window begins anew, and what was lent before it is void', async () => {
  const { state, process } = ledger();
  const admit = process({ requests: 40, window_seconds: 60 });
  expect(admitted(await times(50, () => ask(admit, caller())))).toBe(40);
  state.nowMs = 60_000;
  expect(admitted(await times(50, () => ask(admit, caller())))).toBe(40);
  await ask(admit, caller());
  state.nowMs = 120_000 + 30_000;
  expect(admitted(await times(50, () => ask(admit, caller())))).toBe(40);
});

test('a key and its tenant are counted apart; a refusal of one takes nothing from the other', async () => {
  const { process } = ledger();
  const admit = process({ requests: 10, window_seconds: 60 }, { requests: 25, window_seconds: 60 });
  const [a, b, c] = ['a', 'b', 'c'].map((keyId) => caller({ keyId }));
  expect(admitted(await times(20, () => ask(admit, a!)))).toBe(10);
  expect(admitted(await times(10, () => ask(admit, b!)))).toBe(10);
  expect(admitted(await times(10, () => ask(admit, c!)))).toBe(5);
  expect((await ask(admit, c!)).headers.ratelimit).toContain('"default";r=5;');
});

test('a limit of its own counts instead of the general one', async () => {
  const { process } = ledger();
  const admit = process({ requests: 1, window_seconds: 60 });
  const own = caller({ keyLimit: { requests: 3, window_seconds: 60 }, tenantLimit: { requests: 2, window_seconds: 60 } });
  expect(admitted(await times(5, () => ask(admit, own)))).toBe(2);
});

test('a database that is away refuses nobody for good', async () => {
  const { state, process } = ledger();
  const admit = process({ requests: 10, window_seconds: 60 });
  state.away = true;
  await expect(admit(caller(), { header: () => undefined } as never)).rejects.toThrow('away');
  state.away = false;
  expect((await ask(admit, caller())).code).toBe('admitted');
});
