import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import base from './vitest.config.mts';

/** Unit tests need no Redis, engine, network or weights; integration tests may use any of them. */
const KINDS = {
  unit: { include: ['src/**/*.spec.ts'] },
  int: { include: ['src/**/*.int-spec.ts'], testTimeout: 180_000, hookTimeout: 300_000 },
};

const workspaces = ['libs', 'apps']
  .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
  .concat('e2e', 'helm')
  .filter((root) => existsSync(join(root, 'package.json')));

/** All workspaces in one run: projects `unit:libs/domain`, `int:libs/platform`, `int:e2e` and so on. */
export default defineConfig({
  ...base,
  test: {
    projects: workspaces.flatMap((root) =>
      Object.entries(KINDS).map(([kind, settings]) => ({
        ...base,
        root,
        test: { ...base.test, ...settings, name: `${kind}:${root}` },
      })),
    ),
  },
});
