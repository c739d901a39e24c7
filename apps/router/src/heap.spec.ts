import { spawnSync } from 'node:child_process';
import { stripTypeScriptTypes } from 'node:module';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const SOURCE = new URL('heap.ts', import.meta.url);

it('sets flags that this V8 knows', () => {
  const code = `${stripTypeScriptTypes(readFileSync(SOURCE, 'utf8'))}\ntuneHeap();`;
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--no-warnings', '--input-type=module', '-e', code],
    {
      encoding: 'utf8',
    },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
