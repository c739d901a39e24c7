import js from '@eslint/js';
import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import ts from 'typescript-eslint';

/** What a project may import, by its tags; CONTRIBUTING.md draws the same map. */
const layers = [
  {
    sourceTag: 'type:app',
    onlyDependOnLibsWithTags: [
      ...['type:domain', 'type:adapter', 'type:contract', 'type:util', 'type:binding', 'type:evaluation'],
      ...['type:runtime', 'type:simulation'],
    ],
  },
  // it carries out what a worker's core decides, on the engine, the wire and the store that its starter hands it;
  // scope:worker keeps it out of the router
  {
    sourceTag: 'type:runtime',
    onlyDependOnLibsWithTags: ['type:domain', 'type:adapter', 'type:contract', 'type:util', 'type:binding'],
  },
  {
    sourceTag: 'type:domain',
    onlyDependOnLibsWithTags: ['type:domain', 'type:contract', 'type:util'],
    bannedExternalImports: ['@nestjs/*', 'ioredis', '@grpc/*'],
  },
  { sourceTag: 'type:adapter', onlyDependOnLibsWithTags: ['type:domain', 'type:contract', 'type:util'] },
  // measures and fits on generated scenes, so it ships with their generator
  {
    sourceTag: 'type:evaluation',
    onlyDependOnLibsWithTags: [
      ...['type:evaluation', 'type:testing', 'type:domain', 'type:adapter', 'type:binding'],
      ...['type:contract', 'type:util'],
    ],
  },
  // many workers in a process, for whoever tests or measures a router: it ships with the fake engine's page tables
  {
    sourceTag: 'type:simulation',
    onlyDependOnLibsWithTags: [
      ...['type:runtime', 'type:testing', 'type:domain', 'type:adapter', 'type:binding', 'type:model'],
      ...['type:contract', 'type:util'],
    ],
  },
  // what operators watch a cluster with, generated from the catalogue of metrics
  { sourceTag: 'type:operations', onlyDependOnLibsWithTags: ['type:adapter', 'type:contract', 'type:util'] },
  { sourceTag: 'type:contract', onlyDependOnLibsWithTags: ['type:util'] },
  { sourceTag: 'type:util', onlyDependOnLibsWithTags: ['type:util'] },
  // it turns the domain's page changes and rows into the engine's arrays, and hands the engine what the reader of model
  // folders (type:model) has checked
  {
    sourceTag: 'type:binding',
    onlyDependOnLibsWithTags: ['type:domain', 'type:contract', 'type:util', 'type:model'],
  },
  {
    sourceTag: 'type:testing',
    onlyDependOnLibsWithTags: [
      'type:testing',
      'type:domain',
      'type:adapter',
      'type:binding',
      'type:contract',
      'type:util',
    ],
  },
  // the chart's values take over the settings of router and worker, and its tests start their parsers
  { sourceTag: 'type:chart', onlyDependOnLibsWithTags: ['type:app', 'type:adapter'] },
  {
    sourceTag: 'type:e2e',
    onlyDependOnLibsWithTags: [
      ...['type:testing', 'type:adapter', 'type:domain', 'type:contract', 'type:util', 'type:operations'],
    ],
  },
];

/** Router and worker meet only in shared; the CLI may open the engine too. */
const scopes = [
  { sourceTag: 'scope:router', onlyDependOnLibsWithTags: ['scope:router', 'scope:shared'] },
  { sourceTag: 'scope:worker', onlyDependOnLibsWithTags: ['scope:worker', 'scope:shared'] },
  { sourceTag: 'scope:cli', onlyDependOnLibsWithTags: ['scope:cli', 'scope:worker', 'scope:shared'] },
  { sourceTag: 'scope:cluster', onlyDependOnLibsWithTags: ['scope:router', 'scope:worker', 'scope:shared'] },
  { sourceTag: 'scope:console', onlyDependOnLibsWithTags: ['scope:console', 'scope:shared'] },
  { sourceTag: 'scope:shared', onlyDependOnLibsWithTags: ['scope:shared'] },
];

const withTesting = (constraints) =>
  constraints.map((constraint) => ({
    ...constraint,
    onlyDependOnLibsWithTags: [...constraint.onlyDependOnLibsWithTags, 'type:testing'],
  }));

/** `scopes` of a spec or of the CLI: the generator of scenes and the suites live in a shared testing library. */
const boundaries = (depConstraints) => [
  'error',
  {
    enforceBuildableLibDependency: true,
    allow: [],
    checkDynamicDependenciesExceptions: ['.*'],
    depConstraints,
  },
];

export default ts.config(
  {
    ignores: [
      '.cache',
      '**/dist',
      '**/out-tsc',
      '**/coverage',
      '**/src/gen',
      '**/*.mts',
      '**/*.mjs',
      '**/build*',
    ],
  },
  js.configs.recommended,
  ...ts.configs.recommendedTypeChecked,
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
  {
    plugins: { '@nx': nx },
    files: ['**/*.ts', '**/*.tsx'],
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-explicit-any': 'error',
      // a decorated Nest module is an empty class
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@nx/enforce-module-boundaries': boundaries([...layers, ...scopes]),
      // budgets of the house: what does not fit is two things
      'max-lines': ['error', { max: 600 }],
      'max-lines-per-function': ['error', { max: 80 }],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx', 'hack'], location: 'anywhere' }],
      'no-console': 'error',
    },
  },
  {
    // what decides runs in a test and in a simulation as it runs in production: time, chance and the outside are arguments
    files: ['libs/domain/src/**/*.ts', 'libs/serving/src/**/*.ts'],
    ignores: ['**/*.spec.ts', '**/*.int-spec.ts', '**/testing/**'],
    rules: {
      'no-restricted-globals': [
        'error',
        ...['Date', 'performance', 'process', 'fetch', 'setTimeout', 'setInterval', 'setImmediate'].map(
          (name) => ({
            name,
            message: 'Pure code takes time and the outside world as arguments.',
          }),
        ),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Pure code takes randomness as an argument.' },
      ],
      'no-restricted-imports': [
        'error',
        // hashing is a function of its input alone
        {
          paths: [
            { name: 'node:crypto', importNames: ['randomBytes', 'randomInt', 'randomUUID', 'webcrypto'] },
          ],
          patterns: [{ group: ['node:*', '!node:crypto'], message: 'Pure code does no I/O.' }],
        },
      ],
    },
  },
  {
    // the CLI measures and calibrates on generated scenes, so it ships with the generator; fakes are for specs only
    files: ['apps/cli/**/*.ts', 'apps/*/src/testing/**/*.ts', 'libs/worker-runtime/src/testing/**/*.ts'],
    rules: { '@nx/enforce-module-boundaries': boundaries([...withTesting(layers), ...scopes]) },
  },
  {
    files: ['**/*.spec.ts', '**/*.int-spec.ts', '**/*-conformance.ts', 'libs/serving/src/testing/**/*.ts'],
    rules: {
      '@nx/enforce-module-boundaries': boundaries([...withTesting(layers), ...scopes]),
      'max-lines': ['error', { max: 900 }],
      // describe() is one function; what counts is each test
      'max-lines-per-function': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    // the fake engine stands for the worker's binding, also in specs of what never opens the real one
    files: ['libs/testing/**/*.ts'],
    rules: {
      '@nx/enforce-module-boundaries': boundaries([
        ...withTesting(layers),
        ...scopes.map((scope) =>
          scope.sourceTag === 'scope:shared'
            ? { ...scope, onlyDependOnLibsWithTags: ['scope:shared', 'scope:worker'] }
            : scope,
        ),
      ]),
    },
  },
  prettier,
);
