import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EventTypeFiles } from '../domain/event-type.ts';
import { bundle, toVersion } from './bundle.ts';
import { differencesOf } from './differences.ts';
import { loadCatalog } from './load.ts';
import { layOut, writeCatalog } from './write.ts';

/** Partials name one another and none itself; a text may hold anything that a file can. */
const text = fc.oneof(fc.constantFrom('', '\r\n', '\ufeffx', '{{ data.x }}'), fc.string({ unit: 'grapheme' }));
const using = fc
  .tuple(text, fc.subarray(['a', 'b', 'c']))
  .map(([own, used]) => own + used.map((name) => `{% partial "${name}" %}`).join(''));
const shared: fc.Arbitrary<EventTypeFiles> = fc.record(
  {
    '_partials/a.liquid': text.map((own) => `${own}{% partial 'b' %}`),
    '_partials/b.liquid': text,
    '_partials/c.liquid': text,
    '_layouts/default.html.liquid': using,
    '_layouts/plain.txt.liquid': text,
  },
  { requiredKeys: ['_partials/a.liquid', '_partials/b.liquid', '_partials/c.liquid'] },
);
const ofType: fc.Arbitrary<EventTypeFiles> = fc.record(
  {
    'event.yaml': fc.constantFrom('', 'layout: plain\n', 'layout: "default"\ntitle: x\n'),
    'subject.liquid': using,
    'email.html.liquid': using,
    'email.txt.liquid': using,
    'samples/one.json': text,
    'locales/pt-BR.json': text,
  },
  { requiredKeys: ['event.yaml'] },
);
const catalog = fc.record({
  shared,
  types: fc.dictionary(fc.constantFrom('order.shipped', 'a', 'B-2', 'ünï', 'with space', '__proto', '100%'), ofType, { maxKeys: 4 }),
});

function inFolder<T>(work: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'carillon-write-'));
  try {
    return work(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const versionsOf = (types: Readonly<Record<string, EventTypeFiles>>, beside: EventTypeFiles) =>
  Object.entries(types)
    .filter(([type]) => !type.startsWith('_'))
    .map(([type, files]) => toVersion(type, bundle(files, beside)));

test('what is written is read as the same versions, over whatever was there before; or nothing is written, and it is said why', () => {
  fc.assert(
    fc.property(catalog, catalog, (before, now) =>
      inFolder((directory) => {
        const put = (one: typeof now) => {
          const versions = versionsOf(one.types, one.shared);
          const { layout, problems } = layOut(directory, versions);
          const types = versions.map(({ type }) => type);
          const written = problems.length === 0 ? writeCatalog(directory, types, layout) : [];
          const read = loadCatalog(directory, () => []).versions.filter(({ type }) => types.includes(type));
          return { versions, problems, written, read };
        };
        const first = put(before);
        expect([first.problems, differencesOf(first.read, first.versions)]).toEqual([[], []]);
        const second = put(now);
        if (second.problems.length > 0) {
          const left = Object.keys(before.shared).filter((name) => name.startsWith('_layouts/') && !(name in now.shared));
          expect(left).not.toEqual([]);
          return;
        }
        expect(differencesOf(second.read, second.versions)).toEqual([]);
        expect(put(now).written).toEqual([]);
      }),
    ),
    { numRuns: 60 },
  );
});

test.each([
  ['../../etc', 'event.yaml'],
  ['.hidden', 'event.yaml'],
  ['_partials', 'event.yaml'],
  ['a\\b', 'event.yaml'],
  ['fine', '../../../outside.liquid'],
  ['fine', '/absolute.liquid'],
  ['fine', 'samples/../../x.json'],
  ['fine', '_layouts/../x'],
  ['fine', 'a/b/c'],
])('nothing that a server names leads out of the folder: %s, %s', (type, file) => {
  const { problems } = layOut('nowhere', [{ type, version: 'v', files: { 'event.yaml': '', [file]: 'x' } }]);
  expect(problems).not.toEqual([]);
});

test('a layout that one type was pushed without is said, and not slipped under it', () => {
  const mail = { 'event.yaml': '', 'email.html.liquid': 'x' };
  const versions = [toVersion('a', mail), toVersion('b', { ...mail, '_layouts/default.html.liquid': '{% content %}' })];
  expect(layOut('nowhere', versions).problems).toEqual([{ file: 'a', message: expect.stringContaining('push it again') }]);
});
