import type { PageChange } from '@kvcapsule/domain/scheduling';
import type { Engine } from '@kvcapsule/engine';
import { buildPlan } from '@kvcapsule/engine/plan';
import { batchInput, textRows, type SlotWork } from '@kvcapsule/evaluation/prompts';
import type { Side, Timed } from './side.js';

/** Rows of one step; the worker's default. */
export const STEP_TOKENS = 2048;

/** Seconds that `work` takes, as the caller sees them. */
export async function timed(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** CPU time that this process has used. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** This engine through its addon, as the worker drives it. Sequence s lives in slot s, in one raw segment. */
export class EngineSide implements Side {
  readonly name = 'kvcapsule';
  readonly #engine: Engine;
  #blocksEach = 0;
  #opened = 0;
  /** Of each sequence: its tokens, and the next one, not yet computed. */
  #lengths: number[] = [];
  #next: number[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  open(sequences: number, context: number): Promise<void> {
    this.#blocksEach = Math.ceil(context / this.#engine.info.blockTokens);
    this.#lengths = Array<number>(sequences).fill(0);
    return Promise.resolve();
  }

  async prefill(prompts: readonly (readonly number[])[]): Promise<Timed<number[]>> {
    const changes = this.#closeAll();
    for (const slot of prompts.keys()) {
      const blocks = Array.from({ length: this.#blocksEach }, (_, index) => slot * this.#blocksEach + index);
      changes.push({ kind: 'open', slot }, { kind: 'segment', slot });
      changes.push({ kind: 'blocks', slot, segment: 0, blocks });
    }
    this.#opened = prompts.length;
    this.#lengths = prompts.map(() => 0);
    const cpu = cpuSeconds();
    const seconds = await timed(async () => {
      for (const rows of cutRows(prompts)) await this.#step(rows, changes.splice(0));
    });
    return { seconds: [seconds], cpuSeconds: cpuSeconds() - cpu, tokens: [...this.#next] };
  }

  decode(steps: number): Promise<Timed<number[][]>> {
    return this.#repeat(steps, () => this.#decodeRows(this.#opened));
  }

  mixed(steps: number, chunk: readonly number[]): Promise<Timed<number[][]>> {
    const last = this.#opened - 1;
    return this.#repeat(steps, () => [
      ...this.#decodeRows(last),
      { slot: last, tokens: chunk, sampled: true },
    ]);
  }

  /** Forgets all sequences. The engine is its owner's to dispose. */
  async dispose(): Promise<void> {
    const changes = this.#closeAll();
    this.#opened = 0;
    await this.#engine.step(buildPlan({ changes, chunks: [], samples: [] }));
  }

  #closeAll(): PageChange[] {
    return Array.from({ length: this.#opened }, (_, slot) => ({ kind: 'close', slot }));
  }

  async #repeat(steps: number, rows: () => readonly Rows[]): Promise<Timed<number[][]>> {
    const seconds: number[] = [];
    const tokens: number[][] = [];
    const cpu = cpuSeconds();
    for (let step = 0; step < steps; step++) {
      seconds.push(await timed(() => this.#step(rows(), [])));
      tokens.push([...this.#next]);
    }
    return { seconds, cpuSeconds: cpuSeconds() - cpu, tokens };
  }

  #decodeRows(sequences: number): Rows[] {
    return this.#next.slice(0, sequences).map((token, slot) => ({ slot, tokens: [token], sampled: true }));
  }

  /** One step of the engine; greedy samples go to `#next`. */
  async #step(rows: readonly Rows[], changes: readonly PageChange[]): Promise<void> {
    const { contextTokens } = this.#engine.info;
    const works = new Map<number, SlotWork>();
    for (const { slot, tokens, sampled } of rows) {
      const before = this.#lengths[slot] ?? 0;
      // positions stay inside the model's context: past it answers mean nothing, but they cost the same
      const chunk = { segment: 0, rows: textRows(tokens, Math.min(before, contextTokens - tokens.length)) };
      works.set(slot, { changes: [], chunks: [chunk], samples: sampled ? 1 : 0 });
      this.#lengths[slot] = before + tokens.length;
    }
    const { input, slots } = batchInput(changes, works);
    const result = await this.#engine.step(buildPlan(input));
    for (const [index, slot] of slots.entries()) this.#next[slot] = result.tokens[index] ?? 0;
  }
}

interface Rows {
  readonly slot: number;
  readonly tokens: readonly number[];
  /** The token after the last row is wanted. */
  readonly sampled: boolean;
}

/** Prompts, one after the other, cut where a step is full. */
export function cutRows(prompts: readonly (readonly number[])[]): Rows[][] {
  const steps: Rows[][] = [[]];
  let room = STEP_TOKENS;
  for (const [slot, prompt] of prompts.entries()) {
    for (let from = 0; from < prompt.length;) {
      if (room === 0) {
        steps.push([]);
        room = STEP_TOKENS;
      }
      const to = Math.min(prompt.length, from + room);
      steps.at(-1)?.push({ slot, tokens: prompt.slice(from, to), sampled: to === prompt.length });
      room -= to - from;
      from = to;
    }
  }
  return steps;
}
