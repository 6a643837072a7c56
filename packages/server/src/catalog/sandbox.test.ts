import { expect, test } from 'vitest';
import { makeSandbox } from './sandbox.ts';

const FILES = { 'event.yaml': '', 'subject.liquid': 'Hello' };
const WORK = { kind: 'notifications', scopes: [{ values: {}, locale: null, baseUrl: null }] } as const;
const DEADLINE_MS = 5_000;
const SLOW_THREAD = new URL('../../test/integration/fixtures/slow-thread.ts', import.meta.url);

/** A sandbox whose threads say that each order took so much of the processor, however long it really took. */
function sandboxOf(usedMs: number) {
  let now = 0;
  const box = makeSandbox({ deadlineMs: DEADLINE_MS, threads: 1, monotonicMs: () => now, log: () => undefined, module: SLOW_THREAD });
  const ask = (owner: string, key: string) => box.run({ owner, key: `${key} ${usedMs}`, type: 'x', files: FILES }, WORK);
  return { ask, close: box.close, wait: (ms: number) => (now += ms) };
}

test('what is slow again and again is not tried for a while: first the version, then all of its tenant’s', async () => {
  const box = sandboxOf(DEADLINE_MS * 0.9);
  const details: string[] = [];
  for (let time = 0; time < 40; time++) {
    const ran = await box.ask('slow', 'one');
    details.push(ran.ok ? 'ok' : ran.detail);
  }
  expect(details[0]).toBe('ok');
  expect(details.at(-1)).toContain('the template took too long again and again');
  for (let time = 0; time < 40; time++) await box.ask('slow', `other-${time}`);
  expect(await box.ask('slow', 'new')).toMatchObject({ ok: false, detail: expect.stringContaining('templates of this tenant') });
  expect(await box.ask('another', 'one')).toMatchObject({ ok: true });
  box.wait(120_000);
  expect(await box.ask('slow', 'one')).toMatchObject({ ok: true });
  await box.close();
});

test('what is not slow is never refused', async () => {
  const box = sandboxOf(DEADLINE_MS / 100);
  for (let time = 0; time < 200; time++) expect(await box.ask('busy', 'one')).toMatchObject({ ok: true });
  await box.close();
});

test('a sandbox that closes answers whoever waits', async () => {
  const box = sandboxOf(0);
  const waiting = Array.from({ length: 20 }, () => box.ask('any', 'one'));
  await box.close();
  for (const ran of await Promise.all(waiting.slice(1))) expect(ran).toMatchObject({ ok: false, detail: 'the process is stopping' });
});

/** Asked before it is queued, before it is sent, and when it is sent; the fourth time its answer has come. */
const ANSWERED = 4;

test('what waits for a busy machine is not slow: a thread says what it has used of the processor', async () => {
  let [now, asked] = [0, 0];
  const monotonicMs = () => (now += ++asked === ANSWERED ? DEADLINE_MS * 0.9 : 0);
  const box = makeSandbox({ deadlineMs: DEADLINE_MS, threads: 1, monotonicMs, log: () => undefined });
  for (let time = 0; time < 40; time++) {
    asked = 0;
    expect(await box.run({ owner: 'busy', key: 'one', type: 'x', files: FILES }, WORK)).toMatchObject({ ok: true });
  }
  await box.close();
});
