import type { Engine } from '@kvcapsule/engine';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import { EngineSide } from './engine-side.js';
import { measurePictures, measureText, openBenchEngine, type Point } from './measure.js';
import type { BenchOptions } from './options.js';
import type { Side } from './side.js';

// The whole check may run on two busy cores.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const OPTIONS: BenchOptions = {
  model: DEFAULT_MODEL_DIR,
  weights: 'f32',
  peerWeights: 'f32',
  threads: 1,
  contents: ['text', 'pictures'],
  batches: [1, 2],
  contexts: [48, 600],
  longestText: 48,
  codecs: ['q8', 'capsule'],
  peers: [],
  python: '',
  repeats: 2,
  steps: 8,
  pictureSteps: 4,
  poolBlocks: 1024,
};

let engine: Engine;
beforeAll(async () => {
  engine = await openBenchEngine(OPTIONS);
});
afterAll(() => engine.dispose());

/** Another engine as the peer; `flip` makes it claim other tokens. */
function peerOf(other: Engine, flip: boolean): Side {
  const side = new EngineSide(other);
  return {
    name: 'peer',
    open: (...given) => side.open(...given),
    prefill: (given) => side.prefill(given),
    decode: async (steps) => {
      const { tokens, ...times } = await side.decode(steps);
      return { ...times, tokens: flip ? tokens.map((step) => step.map((token) => token + 1)) : tokens };
    },
    dispose: () => side.dispose(),
  };
}

describe('the measuring loops', () => {
  it.each([false, true])(
    'measures text on every side and sees whether they agree (another: %s)',
    async (flip) => {
      const other = await openBenchEngine(OPTIONS);
      const points: Point[] = [];
      try {
        await measureText(engine, [peerOf(other, flip)], OPTIONS, (point) => points.push(point));
      } finally {
        await other.dispose();
      }
      // one context is short enough; a mixed step needs two sequences, and this peer has none
      expect(points.map(({ kind, batch }) => `${kind} ${batch}`)).toEqual([
        ...['prefill 1', 'decode 1', 'prefill 2', 'decode 2', 'mixed 2'],
      ]);
      for (const { kind, seconds, cpuSeconds, agreement } of points) {
        expect(Object.keys(seconds)).toEqual(kind === 'mixed' ? ['kvcapsule'] : ['kvcapsule', 'peer']);
        for (const rounds of Object.values(seconds)) expect(rounds.length).toBe(OPTIONS.repeats);
        for (const rounds of Object.values(cpuSeconds)) expect(Math.min(...rounds)).toBeGreaterThan(0);
        // of nine tokens only the prefill's is the same
        if (kind !== 'mixed') expect(agreement['peer']).toBeCloseTo(flip ? 1 / 9 : 1, 12);
      }
    },
  );

  it('measures every codec on contexts of whole pictures', async () => {
    const points: Point[] = [];
    await measurePictures(engine, OPTIONS, (point) => points.push(point));
    expect(points.map(({ context, batch }) => [context, batch])).toEqual([
      ...[272, 544].flatMap((context) => [1, 2].map((batch) => [context, batch])),
    ]);
    for (const { seconds } of points) expect(Object.keys(seconds)).toEqual(['raw', 'q8', 'capsule']);
  });
});
