import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readEngineModel } from './engine-model.js';
import { DEMO_ENGINE } from './simulated-model.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvc-engine-model-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function faultOf(content: string): Promise<string> {
  const path = join(folder, 'engine.json');
  await writeFile(path, content);
  return readEngineModel(path).then(
    () => 'none',
    (error: unknown) => String(error),
  );
}
const changed = async (change: (model: Record<string, unknown>) => void): Promise<string> => {
  const model = JSON.parse(await readFile(DEMO_ENGINE, 'utf8')) as Record<string, unknown>;
  change(model);
  return faultOf(JSON.stringify(model));
};

describe('the model of an engine', () => {
  it('is read with its formats as an engine gives them', async () => {
    const { info, costs } = await readEngineModel(DEMO_ENGINE);
    expect(info.formats.length).toBeGreaterThan(2);
    expect(info.formats[0]?.markerRows).toBeInstanceOf(Int32Array);
    for (const ms of Object.values(costs)) expect(ms).toBeGreaterThanOrEqual(0);
  });

  it('names the file and the field that is at fault', async () => {
    expect(await faultOf('{')).toMatch(/engine\.json cannot be read as JSON/);
    expect(await changed((model) => Object.assign(model['costs'] as object, { stepMs: -1 }))).toMatch(
      /engine\.json: costs\.stepMs: /,
    );
    expect(await changed((model) => Object.assign(model['info'] as object, { blockTokens: 0 }))).toMatch(
      /info\.blockTokens: /,
    );
    expect(await changed((model) => Object.assign(model, { speed: 1 }))).toMatch(/speed/);
    await expect(readEngineModel(join(folder, 'none.json'))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});
