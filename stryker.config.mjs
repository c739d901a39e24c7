// Mutation tests: are the unit tests able to fail? `npx stryker run`, part of `./kvcapsule test --full`.
export default {
  packageManager: 'npm',
  plugins: ['@stryker-mutator/vitest-runner'],
  testRunner: 'vitest',
  vitest: { configFile: 'vitest.mutation.config.mts' },
  mutate: [
    'libs/domain/src/**/*.ts',
    'libs/serving/src/**/*.ts',
    'libs/platform/src/redis/**/*.ts',
    'apps/router/src/{generation,admission,placement}/**/*.ts',
    '!**/*.{spec,int-spec}.ts',
    '!**/testing/**',
    '!**/index.ts',
  ],
  coverageAnalysis: 'perTest',
  concurrency: 2,
  tempDirName: '.cache/stryker',
  ignorePatterns: ['/.toolchain', '/.cache', '/.nx', 'dist', 'out-tsc', 'native/build*', 'bench/results'],
  // a static mutant runs every test; what it changes is a constant that tests cannot reach one by one
  ignoreStatic: true,
  // a run beside others is slow, and no mutant is found by that
  timeoutMS: 20_000,
  timeoutFactor: 3,
  reporters: ['clear-text', 'json', 'html'],
  jsonReporter: { fileName: '.cache/mutation/report.json' },
  htmlReporter: { fileName: '.cache/mutation/report.html' },
  thresholds: { high: 90, low: 85, break: 85 },
};
