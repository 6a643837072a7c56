/** What the documents say of the repository is true of it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');
const read = (path: string) => readFileSync(join(REPOSITORY, path), 'utf8');
const markdownIn = (folder: string) =>
  readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join(folder, path));
const DOCUMENTS = [...readdirSync(REPOSITORY).filter((path) => path.endsWith('.md')), ...['docs', 'bench', 'examples'].flatMap(markdownIn)];

test.each(DOCUMENTS)('%s links to what is there', (path) => {
  const targets = [...read(path).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(([, target]) => target!);
  expect(targets.filter((target) => !existsSync(join(REPOSITORY, dirname(path), target)))).toEqual([]);
});

test('the path in ARCHITECTURE has at most nine files, and they are as long as it says', () => {
  const rows = [...read('ARCHITECTURE.md').matchAll(/^\| \d+ \| `([^`]+)` \| (\d+) \|/gm)].map(
    ([, file, lines]) => [file!, Number(lines)] as const,
  );
  expect(rows.length).toBeGreaterThanOrEqual(8);
  expect(rows.length).toBeLessThanOrEqual(9);
  for (const [file, lines] of rows) {
    const counted = read(join('packages/server/src', file)).split('\n').length - 1;
    expect(Math.abs(counted - lines), `${file} has ${counted} lines`).toBeLessThanOrEqual(counted * 0.1);
  }
});

/** A title as it stands in a file: up to its end, or up to what a table fills in. */
function hasTest(file: string, title: string): boolean {
  const paths = testFiles().filter((path) => path.endsWith(`/${file}`));
  return paths.some((path) =>
    [...read(path).matchAll(/\b(?:test|describe)(?:\.each\([^)]*\))?\(\s*(['"`])(.*?)\1,/gs)].some(([, , own = '']) =>
      own.startsWith(title),
    ),
  );
}

function testFiles(): string[] {
  return ['packages/server/src', 'packages/server/test', 'examples'].flatMap((folder) =>
    readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.test.ts'))
      .map((path) => join(folder, path)),
  );
}

test('each row of the security model names a test that there is', () => {
  const text = read('docs/guides/security-model.md');
  const rows = [...text.matchAll(/^\| (.*) \|$/gm)]
    .map(([, cells = '']) => cells.split(' | '))
    .filter(([what]) => what !== 'what comes' && !what?.startsWith('---'));
  expect(rows.length).toBeGreaterThan(35);
  const proofs = rows.map(([what, , proof = '']) => ({ what, proof: /^`([^`]+\.test\.ts)`: (.+)$/.exec(proof) }));
  expect(proofs.filter(({ proof }) => !proof || !hasTest(proof[1]!, proof[2]!)).map(({ what }) => what)).toEqual([]);
});

/** As an argument, also of what a table is given to. */
function hasTitle(file: string, title: string): boolean {
  const wanted = new RegExp(`\\(\\s*(['"\`])${title.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`);
  return testFiles().some((path) => path.endsWith(`/${file}`) && wanted.test(read(path)));
}

test('each requirement of the source systems names a test that there is', () => {
  const text = read('docs/guides/source-systems.md');
  const rows = [...text.matchAll(/^\| ([A-D]\d+) \| (.*) \|$/gm)].map(([, number = '', cells = '']) => ({
    number,
    cells: cells.split(' | '),
  }));
  expect(rows.length).toBeGreaterThan(60);
  const missing = rows.flatMap(({ number, cells }) => {
    const proofs = [...(cells.at(-1) ?? '').matchAll(/`([^`]+\.test\.ts)`: ([^;]+)/g)];
    const known = proofs.length > 0 && proofs.every(([, file = '', title = '']) => hasTitle(file, title.trim()));
    return known ? [] : [`${number} ${cells[0]}`];
  });
  expect(missing).toEqual([]);
  expect(new Set(rows.map(({ number }) => number))).toEqual(
    new Set([
      'A2',
      'A3',
      'A4',
      'A5',
      'A6',
      'A7',
      'A8',
      'A9',
      'A10',
      'B2',
      'B3',
      'B4',
      'B5',
      'B6',
      'B7',
      'B8',
      'B9',
      'B10',
      'D2',
      'D5',
      'D7',
      'D8',
    ]),
  );
});
