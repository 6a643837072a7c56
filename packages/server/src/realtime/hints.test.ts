import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_PAYLOAD_BYTES, memoryHints, postgresHints, readHint, type Hint } from './hints.ts';

function collect({ others = true, fail = false }: { others?: boolean; fail?: boolean } = {}) {
  const sent: { payload: string; at: number }[] = [];
  const logged: string[] = [];
  const hints = postgresHints({
    notify: async (payload) => {
      sent.push({ payload, at: performance.now() });
      if (fail) throw new Error('away');
    },
    othersExist: () => others,
    processId: 'p1',
    log: (event) => {
      logged.push(event);
    },
  });
  const heard = (): Hint[] => sent.map(({ payload }) => readHint(payload, 'p2')!);
  return { hints, sent, logged, heard };
}

test('what one tick asks for goes out as one hint, each user once', async () => {
  const { hints, heard } = collect();
  for (let repeat = 0; repeat < 3; repeat++) {
    hints.inbox('acme', 'ada');
    hints.inbox('acme', 'bob "ü"');
    hints.work();
    hints.catalog();
  }
  await expect.poll(heard).toEqual([
    {
      work: true,
      all: false,
      inbox: [
        ['acme', 'ada'],
        ['acme', 'bob "ü"'],
      ],
      catalog: true,
    },
  ]);
});

test('no payload is too large, every user is told, and no two go out within 9 ms', async () => {
  const users = fc.sample(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }), 700);
  const { hints, sent, heard } = collect();
  for (const [index, user] of users.entries()) hints.inbox('acme', `${user}${index}`);
  await expect.poll(() => heard().flatMap(({ inbox }) => inbox).length).toBe(users.length);
  expect(
    heard()
      .flatMap(({ inbox }) => inbox)
      .map(([, user]) => user)
      .sort(),
  ).toEqual(users.map((user, index) => `${user}${index}`).sort());
  expect(sent.length).toBeGreaterThan(1);
  for (const { payload } of sent) expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  for (const [index, { at }] of sent.entries()) if (index > 0) expect(at - sent[index - 1]!.at).toBeGreaterThan(9);
});

test('too many users become: look everywhere', async () => {
  const { hints, heard } = collect();
  for (let index = 0; index < 5_000; index++) hints.inbox('acme', `user${index}`);
  await expect.poll(heard).toEqual([{ work: false, all: true, inbox: [], catalog: false }]);
});

test('a hint that could not be sent is dropped, and the next one goes out', async () => {
  const { hints, sent, logged } = collect({ fail: true });
  hints.work();
  await expect.poll(() => logged).toEqual(['hint.not-sent']);
  hints.inbox('acme', 'ada');
  await expect
    .poll(() => sent.map(({ payload }) => readHint(payload, 'p2')))
    .toEqual([
      { work: true, all: false, inbox: [], catalog: false },
      { work: false, all: false, inbox: [['acme', 'ada']], catalog: false },
    ]);
});

test('nothing goes out when nobody listens, or after the end', async () => {
  const alone = collect({ others: false });
  const ended = collect();
  ended.hints.work();
  ended.hints.close();
  for (const hints of [alone.hints, ended.hints, memoryHints()]) {
    hints.work();
    hints.inbox('acme', 'ada');
  }
  const { hints, sent } = collect();
  hints.work();
  await expect.poll(() => sent.length).toBe(1); // asked last, so the others had their turn
  expect([...alone.sent, ...ended.sent]).toEqual([]);
});

test('a process does not hear itself; what it cannot read makes it look everywhere', () => {
  expect(readHint('{"from":"p1","work":true}', 'p1')).toBeUndefined();
  for (const odd of ['', 'x', 'null', '7']) expect(readHint(odd, 'p1')).toEqual({ work: true, all: true, inbox: [], catalog: true });
  expect(readHint('{"from":"p2","inbox":[["a","b"],["a"],7,["a",1]],"new":1}', 'p1')).toEqual({
    work: false,
    all: false,
    inbox: [['a', 'b']],
    catalog: false,
  });
});
