/** The guide for those who write templates: its event type is loaded and rendered, each line of its tables makes what it says. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { namesAt } from '../../src/catalog/definition-fields.ts';
import { FILTERS, makeEngine, SIMPLE_FILTERS, TAGS } from '../../src/catalog/liquid.ts';
import type { Target } from '../../src/catalog/escape.ts';
import { loadConfig } from '../../src/config.ts';
import { knownChannels, mistakesIn, readCatalog } from '../../src/main-catalog.ts';
import { channelsIn } from '../../src/main-channels.ts';
import { makeTestCatalog, type TestCatalog } from '../harness/catalog.ts';
import { startServer, type TestServer } from '../harness/server.ts';

const GUIDE = readFileSync(join(resolve(import.meta.dirname, '../../../..'), 'docs/guides/templates.md'), 'utf8');
const FILES = Object.fromEntries(
  [...GUIDE.matchAll(/^`catalog\/([^`]+)`:\n```\w+\n(.*?)^```$/gms)].map(([, name = '', text = '']) => [name, text]),
);
const TYPE = 'request.approved';

let files: TestCatalog;
let server: TestServer;
beforeAll(async () => {
  files = makeTestCatalog(FILES);
  server = await startServer({ 'catalog.dir': files.directory });
});
afterAll(async () => {
  await server.stop();
  files.remove();
});

/** Cells of the rows below this heading, without their backticks. */
function rowsBelow(heading: string): string[][] {
  const [, rest = ''] = GUIDE.split(`\n${heading}\n`);
  const [, table = ''] = /\n\|(?:---\|)+\n((?:\|.*\n)+)/.exec(rest) ?? [];
  const rows = table.trim().split('\n');
  return rows.map((row) =>
    row
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) =>
        cell
          .trim()
          .replace(/^`(.*)`$/, '$1')
          .replaceAll('\\|', '|'),
      ),
  );
}

const namesIn = (text: string): string[] => [...text.matchAll(/`(\w+|#)`/g)].map(([, name = '']) => name);

test('its event type is valid, with nothing to warn of', async () => {
  expect(Object.keys(FILES)).toHaveLength(9);
  const { config } = loadConfig({}, () => undefined);
  expect(await mistakesIn(await readCatalog(files.directory, knownChannels(config, channelsIn(config))))).toEqual([]);
});

test('the sample makes the subject, the body and the mail that it shows', async () => {
  const data: unknown = JSON.parse(FILES[`${TYPE}/samples/one.json`] ?? '');
  const { status, body } = await server.api('POST', '/v1/events/preview', {
    type: TYPE,
    data,
    to: [{ user_id: 'ada', email: 'ada@example.org' }],
  });
  expect([status, body.warnings]).toEqual([200, []]);
  const [{ subject, body: text, channels }] = body.recipients;
  expect(GUIDE).toContain(`the subject \`${subject}\`, the body \`${text}\``);
  const mail = channels.find(({ channel }: { channel: string }) => channel === 'email');
  expect(mail.warnings).toEqual([]);
  expect(mail.content.html.trim()).toBe(/^```html\n(.*?)\n```$/ms.exec(GUIDE)?.[1]);
  const german = await server.api('PUT', '/v1/users/ada', { locale: 'de-AT' });
  expect(german.status).toBeLessThan(300);
  const again = await server.api('POST', '/v1/events/preview', { type: TYPE, data, to: ['ada'] });
  expect(again.body.recipients[0].subject).toBe('Freigegeben: Cohort <B>');
});

const DATA = JSON.parse(/^With this data:\n```json\n(.*?)^```$/ms.exec(GUIDE)?.[1] ?? '') as Record<string, unknown>;

test.each(rowsBelow('## From Jinja2'))('%s is %s and makes %s', (_, liquid = '', makes) => {
  const made = makeEngine({ target: 'plain' })('row', liquid).render({ values: { data: DATA }, locale: null, baseUrl: null });
  expect(made).toEqual({ ok: true, value: makes, warnings: [] });
});

test.each(rowsBelow('### Escaping'))('in %s a value becomes %s', (where = '', becomes = '') => {
  const targets: Readonly<Partial<Record<string, Target>>> = {
    'email.html.liquid': 'html',
    'slack.json.liquid': 'slack',
    'teams.json.liquid': 'markdown',
  };
  const json = where.endsWith('.json.liquid');
  const template = makeEngine({ target: targets[where] ?? 'plain', json })('row', '{{ data.name }}');
  const made = template.render({ values: { data: { name: '<b>*Ada* & co</b>' } }, locale: null, baseUrl: null });
  expect(made.ok && made.value).toBe(becomes);
});

test('it names every tag and filter that there is', () => {
  const [, ofLiquid = '', ofOurs = ''] = /^Filters: (.*?)\.\nOf Carillon: (.*?)\. The texts/ms.exec(GUIDE) ?? [];
  expect(namesIn(ofLiquid).sort()).toEqual([...FILTERS].sort());
  for (const name of ['t', 'link', 'newline_to_br']) expect(namesIn(ofOurs)).toContain(name);
  const [, simple = ''] = /^.*The texts of `event.yaml` have (.*?), and no tags/ms.exec(GUIDE) ?? [];
  expect(namesIn(simple).sort()).toEqual([...SIMPLE_FILTERS].sort());
  const [, tags = ''] = /^Tags of .*?: (.*?); of Carillon/ms.exec(GUIDE) ?? [];
  expect(namesIn(tags).sort()).toEqual([...TAGS].sort());
});

test('it names every field of event.yaml', () => {
  const named = rowsBelow('## event.yaml').flatMap(([cell = '']) => namesIn(`\`${cell}\``.replaceAll('``', '`')));
  expect(named.sort()).toEqual([...namesAt([], null)].sort());
});
