import { expect, test } from 'vitest';
import { z } from 'zod';
import { newId, publicId } from '../lib/id.ts';
import { callerId, idParams, page, queryInteger, queryList, readCursor, timestamp, toCursor, toPage } from './schema.ts';
import { serializer } from './validation.ts';

const accepts = (schema: z.ZodType, value: unknown) => schema.safeParse(value).success;

test.each(['a', 'ada@example.org', 'project:7', 'ü', '日本', 'a b', 'x'.repeat(256), '€'.repeat(85), '👩‍🚀'])(
  '%s is an id that a caller may choose',
  (id) => {
    expect(accepts(callerId, id)).toBe(true);
  },
);

test.each([
  ['empty', ''],
  ['257 bytes', 'x'.repeat(257)],
  ['258 bytes in 86 characters', '€'.repeat(86)],
  ['a tab', 'a\tb'],
  ['NUL', 'a\0'],
  ['a line separator', 'a\u2028b'],
  ['half a pair', '\ud800'],
  ['a C1 control', 'a\u0085'],
])('%s is not', (_what, id) => {
  expect(accepts(callerId, id)).toBe(false);
});

test('a TypeID of the right kind becomes its UUID', () => {
  const uuid = newId(new Date(1_700_000_000_000));
  expect(idParams('evt').parse({ id: publicId('evt', uuid) })).toEqual({ id: uuid });
  for (const id of [publicId('ntf', uuid), uuid, 'evt_', '']) expect(accepts(idParams('evt'), { id })).toBe(false);
});

test('times have an offset and become instants', () => {
  expect(timestamp.parse('2030-01-31T12:00:00Z')).toEqual(new Date('2030-01-31T12:00:00Z'));
  expect(timestamp.parse('2030-01-31T12:00:00.123456+02:00')).toEqual(new Date('2030-01-31T10:00:00.123Z'));
  for (const text of ['2030-01-31', '2030-01-31T12:00:00', '2030-02-30T12:00:00Z', '31 Jan 2030', 'Infinity', ''])
    expect(accepts(timestamp, text), text).toBe(false);
});

test('numbers in a query are digits', () => {
  expect(queryInteger(1, 100).parse('100')).toBe(100);
  for (const text of ['', '0', '101', '1.0', '1e1', '-1', ' 1', '0x1']) expect(accepts(queryInteger(1, 100), text), text).toBe(false);
});

test('a query value may come once or several times', () => {
  expect(queryList(callerId).parse('a')).toEqual(['a']);
  expect(queryList(callerId).parse(['a', 'b'])).toEqual(['a', 'b']);
  expect(accepts(queryList(callerId), ['a', '\0'])).toBe(false);
});

test('a cursor comes back as it went, and nothing else is one', () => {
  expect(readCursor(toCursor(['ada', '2']), 2)).toEqual(['ada', '2']);
  const others = [
    '',
    'nonsense',
    toCursor(['one']),
    toCursor(['a', 'b', 'c']),
    Buffer.from('[1,2]').toString('base64url'),
    Buffer.from('{}').toString('base64url'),
    toCursor(['a\0', 'b']),
  ];
  for (const text of others)
    expect(() => readCursor(text, 2), text).toThrow(
      expect.objectContaining({ code: 'invalid', errors: [expect.objectContaining({ pointer: '/after' })] }),
    );
});

test('a page shows what was asked for, and points on only when there is more', () => {
  expect(toPage([1, 2, 3], 2, String, (last) => [String(last)])).toEqual({
    data: ['1', '2'],
    has_more: true,
    next_cursor: toCursor(['2']),
  });
  expect(toPage([1, 2], 2, String, (last) => [String(last)])).toEqual({ data: ['1', '2'], has_more: false, next_cursor: null });
  expect(toPage([], 2, String, () => [])).toEqual({ data: [], has_more: false, next_cursor: null });
});

test('what leaves has the shape of its schema: nulls, unions, free objects and text in any script', () => {
  const Item = z.object({
    name: z.string().nullable(),
    count: z.int(),
    ok: z.boolean().nullable(),
    list: z.array(z.string()),
    kind: z.enum(['a', 'b']).nullable(),
    free: z.record(z.string(), z.unknown()),
    any: z.unknown(),
    either: z.union([z.object({ id: z.string() }), z.object({ error: z.object({ code: z.string() }) })]),
    maybe: z.string().optional(),
  });
  const write = serializer(page(Item));
  const item = {
    name: null,
    count: 3,
    ok: null,
    list: ['"', '\u2028', '日本'],
    kind: null,
    free: { a: { b: [1, null] } },
    any: { x: 1 },
    either: { error: { code: 'invalid' } },
  };
  const data = [item, { ...item, name: 'n', ok: false, kind: 'b' as const, either: { id: 'i' }, maybe: 'm' }];
  const rest = { has_more: false, next_cursor: null };
  expect(JSON.parse(write({ ...rest, data: data.map((one) => ({ ...one, secret: 'not in the schema' })) }))).toEqual({ ...rest, data });
});
