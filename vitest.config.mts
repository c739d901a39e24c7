import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['@kvcapsule/source'] },
  ssr: { resolve: { conditions: ['@kvcapsule/source'] } },
  // a time-out is there to end a hang, not to measure: checks run beside others, also on two busy cores
  test: { globals: false, include: ['src/**/*.spec.ts'], testTimeout: 60_000, hookTimeout: 60_000 },
});
