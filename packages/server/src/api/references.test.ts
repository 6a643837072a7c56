import { expect, test } from 'vitest';
import { SETTINGS } from '../config.ts';
import { DELIVERY_STATES, LEGAL_MOVES } from '../domain/delivery.ts';
import { ERRORS } from '../domain/error.ts';
import { REASONS } from '../domain/reason.ts';
import { METRICS } from '../telemetry/metrics.ts';
import { renderReferences } from './references.ts';

const pages = renderReferences(SETTINGS);
const page = (name: string) => pages[`docs/reference/${name}.md`]!;

test('the same tables give the same bytes', () => {
  expect(renderReferences(SETTINGS)).toEqual(pages);
  expect(Object.keys(pages)).toEqual(
    ['configuration', 'errors', 'metrics', 'reasons', 'states'].map((name) => `docs/reference/${name}.md`),
  );
});

test('nothing of the tables is missing', () => {
  for (const { name, env } of SETTINGS) expect(page('configuration')).toContain(`| \`${name}\` | \`${env}\` |`);
  for (const code of Object.keys(ERRORS)) expect(page('errors')).toContain(`| [\`${code}\`](#${code}) |`);
  for (const code of Object.keys(REASONS)) expect(page('reasons')).toContain(`| \`${code}\` |`);
  for (const name of Object.keys(METRICS)) expect(page('metrics')).toContain(`| \`${name}\` |`);
  for (const state of Object.keys(DELIVERY_STATES)) expect(page('states')).toContain(state);
});

test('every legal move is in the diagram and in the table', () => {
  const moves = Object.entries(LEGAL_MOVES).flatMap(([from, tos]) => tos.map((to) => [from, to] as const));
  for (const [from, to] of moves) {
    expect(page('states')).toMatch(new RegExp(`^  ${from} --> ${to}(:.*)?$`, 'm'));
    expect(page('states')).toContain(`| \`${from}\` | \`${to}\` |`);
  }
  expect(page('states').match(/^ {2}\w+ --> \w+/gm)).toHaveLength(moves.length);
});

test('every row of every table has as many cells as its head', () => {
  for (const text of Object.values(pages)) {
    const widths = text
      .split('\n')
      .filter((line) => line.startsWith('| '))
      .map((line) => line.replaceAll('\\|', '').split('|').length);
    expect(new Set(widths).size).toBe(1);
  }
});

test('defaults are shown as they would be written', () => {
  expect(page('configuration')).toContain(
    '| `delivery.lease` | `CARILLON_DELIVERY_LEASE` | a time from 2s to 10m, such as 20s or 5m | `20s` |',
  );
  expect(page('configuration')).toContain('`5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 1d`');
  expect(page('configuration')).toContain('| `secret` | `CARILLON_SECRET` | at least 32 characters | not set |');
});
