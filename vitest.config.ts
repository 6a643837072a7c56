import { defineConfig } from 'vitest/config';

const common = {
  globalSetup: ['packages/server/test/harness/global-setup.ts'],
  testTimeout: 60_000,
  hookTimeout: 120_000,
  // A condition is waited for as long as a loaded machine may need; one that holds ends the wait at once.
  expect: { poll: { timeout: 20_000 } },
};

export default defineConfig({
  test: {
    maxWorkers: 2,
    // `.ci/run` sums the report, and nothing else knows where it is.
    reporters: ['default', ['json', { outputFile: 'node_modules/.cache/carillon/test-report.json' }]],
    projects: [
      {
        test: {
          ...common,
          name: 'server',
          include: [
            'packages/server/src/**/*.test.ts',
            'packages/server/test/{unit,integration,conformance}/**/*.test.ts',
            'examples/**/*.test.ts',
          ],
          // Files share a process and its loaded modules: no module keeps state and nothing is mocked, and it is several times faster.
          isolate: false,
        },
      },
      {
        test: {
          ...common,
          name: 'chaos',
          include: ['packages/server/test/chaos/**/*.test.ts'],
          // Processes are killed here: one file at a time, so that one test's load is not another's latency.
          fileParallelism: false,
        },
      },
    ],
  },
});
