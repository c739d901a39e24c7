import type { FormatChoice } from '@kvcapsule/domain/storage';
import type { Answer } from './answers.js';
import {
  attend,
  cosine,
  joinRows,
  PARTS,
  selectRows,
  type AttentionShape,
  type SegmentRows,
} from './attention.js';
import { NOTHING_HELD, type Held, type SpanRunner } from './span-runner.js';
import type { Asked } from './suites.js';

/** Cosines with raw's attention output, summed over query rows. */
export interface Cosines {
  readonly samples: number;
  /** `[layer]`: with raw's queries and the keys, the values or both from the codec; and as the codec runs. */
  readonly sums: readonly (readonly number[])[];
}

/** What a column of {@link Cosines.sums} is. */
export const COSINES = [...PARTS, 'running'] as const;

/** One question's rows under raw. */
interface RawProbe {
  readonly asked: Asked;
  readonly tokens: readonly number[];
  readonly samples: number;
  readonly queries: Float32Array;
  readonly segments: readonly SegmentRows[];
}

const PREFIX = 0;
const PICTURE = 1;

/** Raw's own run over its answers: the queries that every entry's attention is asked with. */
export async function probeRaw(
  runner: SpanRunner,
  held: readonly Held[],
  asked: readonly Asked[],
  answers: readonly Answer[],
): Promise<RawProbe[]> {
  const probes: RawProbe[] = [];
  for (const [index, one] of asked.entries()) {
    const answer = answers[index]?.tokens ?? [];
    const tokens = [...one.tokens, ...answer.slice(0, -1)];
    const text = { held: held[one.layout] ?? NOTHING_HELD, tokens, samples: answer.length };
    probes.push({ asked: one, tokens, samples: answer.length, ...(await runner.probe(text)) });
  }
  return probes;
}

function queriesOf(
  shape: AttentionShape,
  probe: RawProbe,
  queries: Float32Array,
  layer: number,
  sample: number,
) {
  const floats = shape.heads * shape.headDim;
  const at = (layer * probe.samples + sample) * floats;
  return queries.subarray(at, at + floats);
}

/** Rows of the picture's span in the order in which a codec holds them: covered ones, then the rest. */
function heldOrder(tokens: number, restRows: readonly number[]): number[] {
  const rest = new Set(restRows);
  return [...Array.from({ length: tokens }, (_, row) => row).filter((row) => !rest.has(row)), ...restRows];
}

function addCosines(
  shape: AttentionShape,
  probe: RawProbe,
  mine: { readonly queries: Float32Array; readonly segments: readonly SegmentRows[] },
  restRows: readonly number[],
  sums: number[][],
): void {
  const [prefix, picture] = [probe.segments[PREFIX], probe.segments[PICTURE]];
  const own = probe.segments.at(-1);
  const myOwn = mine.segments.at(-1);
  if (prefix === undefined || picture === undefined || own === undefined || myOwn === undefined) return;
  const order = heldOrder(picture.tokens, restRows);
  const raw = joinRows(shape, [prefix, selectRows(shape, picture, order), own]);
  const before = mine.segments.slice(0, -1);
  const coded = joinRows(shape, [...before, own]);
  const running = joinRows(shape, [...before, myOwn]);
  for (let sample = 0; sample < probe.samples; sample++) {
    const seen = raw.tokens - probe.samples + sample + 1;
    for (let layer = 0; layer < shape.layers; layer++) {
      const query = queriesOf(shape, probe, probe.queries, layer, sample);
      const myQuery = queriesOf(shape, probe, mine.queries, layer, sample);
      const reference = attend(shape, layer, query, raw, raw, seen);
      const outputs = [
        attend(shape, layer, query, coded, raw, seen),
        attend(shape, layer, query, raw, coded, seen),
        attend(shape, layer, query, coded, coded, seen),
        attend(shape, layer, myQuery, running, running, seen),
      ];
      for (const [column, output] of outputs.entries()) {
        const row = (sums[layer] ??= COSINES.map(() => 0));
        row[column] = (row[column] ?? 0) + cosine(reference, output);
      }
    }
  }
}

/**
 * One entry's attention beside raw's on the same questions, by scene.
 *
 * @param held the entry's prefixes
 * @param choice how its format holds a picture's span
 */
export async function probeEntry(
  runner: SpanRunner,
  shape: AttentionShape,
  held: readonly Held[],
  choice: FormatChoice,
  probes: readonly RawProbe[],
): Promise<Map<number, Cosines>> {
  const sums = new Map<number, { samples: number; sums: number[][] }>();
  for (const probe of probes) {
    const { layout, scene } = probe.asked;
    const text = { held: held[layout] ?? NOTHING_HELD, tokens: probe.tokens, samples: probe.samples };
    const mine = await runner.probe(text);
    const ofScene = sums.get(scene) ?? { samples: 0, sums: [] };
    addCosines(shape, probe, mine, choice.restRows, ofScene.sums);
    ofScene.samples += probe.samples;
    sums.set(scene, ofScene);
  }
  return sums;
}
