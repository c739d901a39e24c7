import { fileURLToPath } from 'node:url';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type NativeEngine, openEngine } from '@kvcapsule/engine';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';
import { inspectImage, MAX_SIDE_PX } from '@kvcapsule/multimodal';
import { encodePng } from '@kvcapsule/testing/pictures';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const modelDir = fileURLToPath(new URL('../../../../deploy/models/emoji-vlm', import.meta.url));

let engine: NativeEngine;
let folder: ModelFolder;
beforeAll(async () => {
  folder = await openModelFolder(modelDir);
  engine = await openEngine({
    ...{ modelDir, weights: 'f32', kvDtype: 'f16', threads: 1 },
    ...{ poolBlocks: 64, maxSlots: 4, maxStepTokens: 64 },
  });
});
afterAll(() => Promise.all([engine.dispose(), folder.dispose()]));

const MAX_PIXELS = 2_000_000;

/** Whether the router lets a picture of this size through: its header, and the model's tiling. */
async function isTaken(width: number, height: number): Promise<boolean> {
  const samples = new Uint8Array(width * height);
  const png = encodePng({ width, height, colour: 'grey', bitDepth: 8, samples });
  try {
    await inspectImage(png, { param: 'p', maxPixels: MAX_PIXELS });
    folder.pictureSpan(width, height);
    return true;
  } catch (error) {
    if (error instanceof KvcError && ['IMAGE_TOO_LARGE', 'IMAGE_INVALID'].includes(error.code)) return false;
    throw error;
  }
}

/** The engine's tokens for it; undefined where it refuses the size. */
async function engineTokens(width: number, height: number): Promise<number | undefined> {
  try {
    const { handle, tokens } = await engine.encodeImage(new Uint8Array(3 * width * height), width, height);
    await engine.releaseImage(handle);
    return tokens;
  } catch {
    return undefined;
  }
}

async function expectAgreement(width: number, height: number): Promise<void> {
  const tokens = await engineTokens(width, height);
  expect([width, height, await isTaken(width, height)]).toEqual([width, height, tokens !== undefined]);
  if (tokens !== undefined) expect(folder.pictureSpan(width, height).imageTokens).toBe(tokens);
}

describe('a size of a picture', () => {
  it('that the router lets through is one that the engine takes, at every limit', async () => {
    const long = [MAX_SIDE_PX - 1, MAX_SIDE_PX, MAX_SIDE_PX + 1, 40_000];
    for (const side of long)
      for (const other of [1, 2, 31]) {
        await expectAgreement(side, other);
        await expectAgreement(other, side);
      }
  });

  it('is taken by both or by neither', async () => {
    const long = fc.integer({ min: 1, max: 40_000 });
    await fc.assert(
      fc.asyncProperty(long, fc.integer({ min: 1, max: 300 }), fc.boolean(), async (a, b, isWide) => {
        const short = Math.max(1, Math.min(b, Math.floor(MAX_PIXELS / a)));
        await expectAgreement(isWide ? a : short, isWide ? short : a);
      }),
      { numRuns: 40, seed: 10 },
    );
  });
});
