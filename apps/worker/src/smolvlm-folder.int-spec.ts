import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { type Engine, openEngine, PageOp, type StepPlan } from '@kvcapsule/engine';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { markupTokenizer, SMOLVLM_TEMPLATE } from '@kvcapsule/testing/models';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const ROOT = new URL('../../../', import.meta.url);
/** `model_type: smolvlm` with shards and old spellings; random weights and what transformers answers with them. */
const FIXTURE = fileURLToPath(new URL('native/test/fixtures/shuffle-4-smolvlm', ROOT));
const IMAGE_TOKEN = 5;
const WEIGHTS = { weights: 'f32', kvDtype: 'f32' } as const;
const SIZES = { threads: 1, poolBlocks: 8, maxSlots: 1, maxStepTokens: 64 };

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000 });

interface Golden {
  readonly cases: readonly {
    readonly input_ids: readonly number[];
    readonly answer_ids: readonly number[];
  }[];
}

/** The next row of the one sequence there is, or all rows of a prompt. */
function plan(
  tokens: readonly number[],
  first: number,
  imageHandle: number,
  ops: readonly number[],
): StepPlan {
  let imageRow = 0;
  return {
    ops: Int32Array.from(ops),
    chunks: Int32Array.of(0, 0, tokens.length),
    tokens: Int32Array.from(tokens),
    positions: Int32Array.from(tokens, (_, index) => first + index),
    imageHandles: Int32Array.from(tokens, (token) => (token === IMAGE_TOKEN ? imageHandle : -1)),
    imageRows: Int32Array.from(tokens, (token) => (token === IMAGE_TOKEN ? imageRow++ : 0)),
    samples: Int32Array.of(tokens.length - 1),
    temperature: Float32Array.of(0),
    topP: Float32Array.of(1),
    topK: Int32Array.of(0),
    seed: BigUint64Array.of(0n),
  };
}

describe('a folder of SmolVLM', () => {
  let dir: string;
  let folder: ModelFolder;
  let engine: Engine;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'kvcapsule-smolvlm-'));
    await cp(FIXTURE, dir, { recursive: true });
    await writeFile(join(dir, 'tokenizer.json'), await markupTokenizer());
    await writeFile(join(dir, 'chat_template.json'), JSON.stringify({ chat_template: SMOLVLM_TEMPLATE }));
    folder = await openModelFolder(dir);
    engine = await openEngine({ modelDir: dir, ...WEIGHTS, ...SIZES, profiles: [] });
  }, 120_000);
  afterAll(async () => {
    await engine.dispose();
    await folder.dispose();
    await rm(dir, { recursive: true });
  });

  const picture = async () => {
    const bytes = await readFile(join(dir, 'picture.png'));
    return decodeImage(bytes, { param: 'messages', maxPixels: 1_000_000 });
  };

  it('makes of a picture in a prompt as many tokens as the engine makes of its pixels', async () => {
    const { rgb, width, height } = await picture();
    const content = [{ type: 'image' as const }, { type: 'text' as const, text: 'What is this' }];
    const prompt = await folder.prepareChat({
      messages: [{ role: 'user', content }],
      pictures: [{ width, height }],
      addGenerationPrompt: true,
    });
    const span = folder.pictureSpan(width, height);
    const image = await engine.encodeImage(rgb, width, height);
    expect(prompt.pictures).toMatchObject([{ offset: 5, length: span.tokenIds.length }]);
    expect(prompt.tokenIds.filter((token) => token === IMAGE_TOKEN)).toHaveLength(image.tokens);
    expect([image.rows, image.cols]).toEqual([span.rows, span.cols]);
    await engine.releaseImage(image.handle);
  });

  it('answers as transformers does', async () => {
    const { cases } = JSON.parse(await readFile(join(dir, 'golden.json'), 'utf8')) as Golden;
    const [golden] = cases;
    if (golden === undefined) throw new Error('the fixture has no case');
    const { rgb, width, height } = await picture();
    const { handle } = await engine.encodeImage(rgb, width, height);
    const open = [PageOp.Open, 0, 0, PageOp.Segment, 0, 0, PageOp.Blocks, 0, 4, 0, 0, 1, 2];
    const answer: number[] = [];
    const take = async (step: StepPlan) => answer.push((await engine.step(step)).tokens[0] ?? -1);
    await take(plan(golden.input_ids, 0, handle, open));
    while (answer.length < golden.answer_ids.length)
      await take(plan(answer.slice(-1), golden.input_ids.length + answer.length - 1, -1, []));
    expect(answer).toEqual(golden.answer_ids);
  });
});
