import { expect, test } from 'vitest';
import { levelOf, makeLog, type LogLevel } from './log.ts';

function capture(level: LogLevel = 'debug') {
  const lines: string[] = [];
  const { log } = makeLog({
    level,
    write: (line) => {
      lines.push(line);
    },
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? 'null') };
}

test('a line is one JSON object with event, level and an RFC 3339 time', () => {
  const { log, lines, last } = capture();
  log('start.ready', { port: 7070, at: new Date(0) });
  expect(lines[0]!.endsWith('}\n')).toBe(true);
  expect(last()).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    event: 'start.ready',
    port: 7070,
    at: '1970-01-01T00:00:00.000Z',
  });
});

test.each([
  ['http.request', { status: 202 }, 'debug'],
  ['http.request', { status: 404 }, 'info'],
  ['http.request', { status: 503, error: new Error('away') }, 'warn'],
  ['http.request', { status: 500, error: new Error('bug') }, 'error'],
  ['delivery.attempted', { state: 'delivered' }, 'debug'],
  ['delivery.attempted', { state: 'failed' }, 'info'],
  ['some.thing', {}, 'info'],
  ['some.thing', { error: new Error('x') }, 'error'],
  ['database.connection-lost', { error: new Error('x') }, 'warn'],
] as const)('%s %o is written at %s', (event, fields, level) => {
  expect(levelOf(event, fields)).toBe(level);
});

test('below its level nothing is written', () => {
  const { log, lines } = capture('warn');
  log('start.ready', {});
  expect(lines).toEqual([]);
  log('start.failed', { error: new Error('x') });
  expect(lines).toHaveLength(1);
});

test('an error has message, code, stack and cause, and nothing else of itself', () => {
  const { log, last } = capture();
  log('x.failed', {
    error: Object.assign(new Error('outer', { cause: new Error('inner') }), { code: 'ECONNREFUSED', request: { body: 'whole' } }),
  });
  expect(last().error).toEqual({
    name: 'Error',
    message: 'outer',
    code: 'ECONNREFUSED',
    stack: expect.stringContaining('log.test.ts'),
    cause: expect.objectContaining({ message: 'inner' }),
  });
});

test('secrets are not written, by name or by look, wherever they stand', () => {
  const { log, lines } = capture();
  const planted = ['hunter2', 'cn_live_abcdef', 'eyJhbGci.eyJzdWIi.c2lnbmF0', 'whsec_c2VjcmV0'];
  log('x.happened', {
    password: 'hunter2',
    nested: [{ Authorization: 'Bearer hunter2', clientSecret: 'hunter2', encryption_key: 'hunter2' }],
    bytes: Buffer.from('hunter2'),
    text: `sent ${planted[1]} and ${planted[2]} and ${planted[3]}`,
    error: new Error('connect postgres://carillon:hunter2@db/x failed'),
  });
  for (const secret of planted) expect(lines[0]).not.toContain(secret);
  expect(lines[0]).toContain('postgres://carillon:[redacted]@db/x');
});

test('circles and great depth end', () => {
  const { log, lines } = capture();
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  log('x.happened', { circle, long: 'x'.repeat(100_000), big: 1n });
  expect(lines[0]!.length).toBeLessThan(20_000);
});
