import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { conditions: ['@kvcapsule/source'] },
  ssr: { resolve: { conditions: ['@kvcapsule/source'] } },
  test: { globals: false, include: ['src/**/*.spec.ts'] },
});
