import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Journal, type SceneRecord } from './journal.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kvcapsule-journal-'));
});
afterAll(() => rm(folder, { recursive: true }));

const RUN = { seed: '2001', 'model revision': 'a' };
const record = (scene: number): SceneRecord => ({
  entry: 'key',
  suite: 'questions',
  scene,
  outcomes: [{ kind: 'cell', correct: true, klNats: [1e-7, 0.25], agreed: 2 }],
});

const header = (run: object) => JSON.stringify({ version: 2, run, machines: [], peakResidentBytes: 0 });

describe('Journal', () => {
  it('gives back what was added before, in a later run', async () => {
    const path = join(folder, 'kept.jsonl');
    const first = await Journal.open(path, RUN);
    await first.add([record(0), record(1)]);
    const second = await Journal.open(path, RUN);
    expect(second.find('key', 'questions', 1)).toEqual(record(1));
    expect(second.find('key', 'several', 1)).toBeUndefined();
    expect(second.find('other', 'questions', 1)).toBeUndefined();
  });

  it('forgets a line that a stop has cut short, and goes on behind the last whole one', async () => {
    const path = join(folder, 'cut.jsonl');
    await (await Journal.open(path, RUN)).add([record(0)]);
    await appendFile(path, JSON.stringify(record(1)).slice(0, 40));
    const again = await Journal.open(path, RUN);
    expect(again.find('key', 'questions', 1)).toBeUndefined();
    await again.add([record(1)]);
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown).slice(1)).toEqual([record(0), record(1)]);
  });

  it.each([
    ['another run', `${header({ ...RUN, seed: '7' })}\n`, /another seed/],
    ['no journal', '{"hello":1}\n', /not a journal/],
    ['no JSON', 'hello\nthere\n', /line 1 is not JSON/],
    ['a record without a scene', `${header(RUN)}\n{"entry":"x"}\n`, /not a journal/],
  ])('refuses %s by name', async (name, text, reason) => {
    const path = join(folder, `${name}.jsonl`);
    await writeFile(path, text);
    await expect(Journal.open(path, RUN)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(reason) as string,
    });
  });

  it('takes over what others hold, with who measured it, and keeps it', async () => {
    const [mine, other, third] = ['mine', 'other', 'third'].map((name) => join(folder, `${name}.jsonl`)) as [
      string,
      string,
      string,
    ];
    const [first, second] = [await Journal.open(mine, RUN), await Journal.open(other, RUN)];
    await first.add([record(0)]);
    await first.close('small', 10);
    await second.add([record(0), record(1)]);
    await second.close('big', 30);
    await first.merge([other]);
    const again = await Journal.open(mine, RUN);
    expect([0, 1].map((scene) => again.find('key', 'questions', scene))).toEqual([record(0), record(1)]);
    expect(again.machines).toEqual(['small', 'big']);
    expect(again.peakResidentBytes).toBe(30);

    const disagreeing = await Journal.open(third, RUN);
    await disagreeing.add([{ ...record(1), outcomes: [] }]);
    await expect(again.merge([third])).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('disagrees about questions, scene 1') as string,
    });
    await writeFile(third, `${header({ ...RUN, 'model revision': 'b' })}\n`);
    await expect(again.merge([third])).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(again.merge([join(folder, 'nowhere')])).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
