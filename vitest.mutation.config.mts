import { defineConfig } from 'vitest/config';
import base from './vitest.config.mts';

/** The unit tests of what is mutated, as one project: the mutation runner takes no more. */
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    setupFiles: ['vitest.mutation.setup.mts'],
    include: [
      'libs/{domain,serving,platform}/src/**/*.spec.ts',
      'apps/router/src/**/*.spec.ts',
      // half a second with a Redis of its own: what connects to one is found by nothing else
      'libs/platform/src/redis/conformance.int-spec.ts',
    ],
  },
});
