import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Only what a tool can decide. What it cannot is in STYLE.md. */
const SRC = ['packages/*/src/**/*.ts'];
const TESTS = ['**/*.test.ts', 'packages/*/test/**/*.ts'];

const EXPORTS = [
  { selector: 'ExportDefaultDeclaration', message: 'Named exports only: one name everywhere.' },
  { selector: 'ExportAllDeclaration', message: 'No barrels: import the file that has the thing.' },
];
const ENVIRONMENT_MESSAGE = 'Read the environment in packages/server/src/config.ts only.';
const ENVIRONMENT = [
  "MemberExpression[object.name='process'][property.name='env']",
  "MemberExpression[object.name='process'][property.value='env']",
  "MemberExpression[object.property.name='process'][property.name='env']",
  "VariableDeclarator[init.name='process'] > ObjectPattern > Property[key.name='env']",
  "ImportDeclaration[source.value=/^(node:)?process$/] ImportSpecifier[imported.name='env']",
].map((selector) => ({ selector, message: ENVIRONMENT_MESSAGE }));
const CLOCK_AND_CHANCE = [
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'Take `now` as an argument.' },
  { selector: "CallExpression[callee.name='Date']", message: 'Take `now` as an argument.' },
  { selector: "CallExpression[callee.object.name='Date'][callee.property.name='now']", message: 'Take `now` as an argument.' },
  { selector: "CallExpression[callee.object.name='Math'][callee.property.name='random']", message: 'Take `random` as an argument.' },
];
/** Node's own clients would leave past the guard; their types and servers are welcome. */
const CLIENTS = {
  dgram: [],
  http: ['createServer', 'STATUS_CODES'],
  http2: [],
  https: [],
  net: ['BlockList', 'createServer', 'isIP', 'isIPv4', 'isIPv6'],
  tls: [],
};
const clientPaths = Object.entries(CLIENTS).flatMap(([name, allowed]) =>
  [name, `node:${name}`].map((path) => ({
    name: path,
    allowTypeImports: true,
    ...(allowed.length > 0 && { allowImportNames: allowed }),
    message: 'What leaves goes through lib/egress.ts.',
  })),
);
const syntax = (...lists) => ({ 'no-restricted-syntax': ['error', ...lists.flat()] });

export default defineConfig(
  { ignores: ['**/dist/**', '**/coverage/**', '**/*.gen.ts', '.dependency-cruiser.mjs'] },
  tseslint.configs.strictTypeChecked,
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
  {
    rules: {
      ...syntax(EXPORTS, ENVIRONMENT, CLOCK_AND_CHANCE),
      'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 50, skipBlankLines: true, skipComments: true }],
      'max-params': ['error', 4],
      'max-depth': ['error', 3],
      complexity: ['error', 10],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx', 'hack'] }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true }],
      '@typescript-eslint/no-unnecessary-type-parameters': 'off', // query<Row>() names the row it returns
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  {
    files: SRC,
    ignores: TESTS,
    rules: {
      'no-console': 'error', // the log is telemetry/log.ts; what a command prints goes to process.stdout
      'no-restricted-globals': ['error', { name: 'fetch', message: 'What leaves goes through lib/egress.ts.' }],
    },
  },
  {
    files: SRC,
    ignores: [
      ...TESTS,
      'packages/server/src/lib/egress*.ts',
      'packages/server/src/channels/email/*.ts',
      'packages/server/src/store/database.ts',
    ],
    rules: { '@typescript-eslint/no-restricted-imports': ['error', { paths: clientPaths }] },
  },
  // A command calls the server that its user names, from his own machine: there is nobody to guard against.
  { files: ['packages/server/src/cli-client.ts'], rules: { 'no-restricted-globals': 'off' } },
  { files: ['packages/server/src/config.ts'], rules: syntax(EXPORTS, CLOCK_AND_CHANCE) },
  { files: ['packages/server/src/lib/clock.ts'], rules: syntax(EXPORTS, ENVIRONMENT) },
  { files: [...TESTS, 'bench/**/*.ts'], rules: { ...syntax(EXPORTS), 'max-lines-per-function': 'off' } },
  {
    files: TESTS,
    rules: {
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }], // tables and the cases of one promise stay together
      '@typescript-eslint/require-await': 'off', // an async fake keeps the type of what it stands for
      // An answer of the wrong shape fails the test that reads it.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  { files: ['*.config.ts', '*.config.js'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: ['*.config.js', '**/*.mjs'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false } },
  },
);
