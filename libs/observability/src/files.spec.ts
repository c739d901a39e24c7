import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { describe, expect, it } from 'vitest';

import { files } from './files.js';

const ROOT = resolve(import.meta.dirname, '../../..');

describe('what is generated', () => {
  it.each([...files()])('%s is what `npm run generate:observability` writes', (path, text) => {
    expect(existsSync(join(ROOT, path)) ? readFileSync(join(ROOT, path), 'utf8') : 'missing').toBe(text);
  });

  it.each(['deploy/observability', 'helm/kvcapsule/files'])(
    'is all there is of dashboards and rules in %s',
    (folder) => {
      for (const kind of ['dashboards', 'rules']) {
        const kept = readdirSync(join(ROOT, folder, kind)).map((name) => `${folder}/${kind}/${name}`);
        expect(kept.filter((path) => !files().has(path))).toEqual([]);
      }
    },
  );
});
