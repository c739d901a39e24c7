import { KvcError } from '@kvcapsule/contracts';
import { mixSeed } from '@kvcapsule/testing/scenes';
import { z } from 'zod';
import type { Conversation, Workload } from './conversation.js';
import { LONGEST_TOKENS } from './lengths.js';
import { textOf, wordsFor, type WordTokens } from './words.js';

/** One request of a trace: when, how long, and of which blocks its prompt is made, where the trace says so. */
export interface TraceRow {
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Equal ids are equal runs of `MOONCAKE_BLOCK` tokens. */
  readonly blocks?: readonly number[];
}

/** Tokens of a block in Mooncake's traces. */
export const MOONCAKE_BLOCK = 512;
const MOST_ROWS = 1_000_000;

const tokens = z.coerce.number().int().min(1).max(LONGEST_TOKENS);
const mooncakeRow = z.object({
  timestamp: z.number().min(0),
  input_length: tokens,
  output_length: tokens,
  hash_ids: z.array(z.number().int().min(0)).max(LONGEST_TOKENS).optional(),
});

const shareGptFile = z
  .array(
    z.object({
      conversations: z
        .array(z.object({ from: z.string().max(64), value: z.string().max(1 << 20) }))
        .max(10_000),
    }),
  )
  .max(MOST_ROWS);

const invalid = (name: string, why: string, cause?: unknown) =>
  new KvcError('CONFIG_INVALID', `${name}: ${why}`, { cause });

function jsonOf(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(name, 'not JSON', cause);
  }
}

const linesOf = (text: string): string[] => text.split(/\r?\n/).filter((line) => line.trim() !== '');

/**
 * Mooncake's JSONL: a line for each request with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`.
 *
 * @throws KvcError CONFIG_INVALID naming the line
 */
export function parseMooncake(name: string, text: string): TraceRow[] {
  return checked(
    name,
    linesOf(text).map((line, at) => {
      const row = mooncakeRow.safeParse(jsonOf(`${name}, line ${at + 1}`, line));
      if (!row.success) throw invalid(`${name}, line ${at + 1}`, 'not a row of a Mooncake trace', row.error);
      const {
        timestamp: atMs,
        input_length: inputTokens,
        output_length: outputTokens,
        hash_ids: blocks,
      } = row.data;
      return { atMs, inputTokens, outputTokens, ...(blocks && { blocks }) };
    }),
  );
}

/** Names that columns go by, in lower case. */
const COLUMNS = {
  at: ['timestamp', 'arrived_at', 'arrival_time'],
  input: ['contexttokens', 'input_length', 'num_prefill_tokens', 'prompt_tokens', 'input_tokens'],
  output: ['generatedtokens', 'output_length', 'num_decode_tokens', 'completion_tokens', 'output_tokens'],
};

/**
 * A CSV with a head, as Azure publishes its traces (`TIMESTAMP,ContextTokens,GeneratedTokens`). Times are seconds or
 * dates; the first row is the start.
 *
 * @throws KvcError CONFIG_INVALID naming the column or the line
 */
export function parseTraceCsv(name: string, text: string): TraceRow[] {
  const [head = '', ...lines] = linesOf(text);
  const names = head.split(',').map((cell) => cell.trim().toLowerCase());
  const column = (known: readonly string[]): number => {
    const at = names.findIndex((one) => known.includes(one));
    if (at < 0) throw invalid(name, `no column ${known.join(' or ')}`);
    return at;
  };
  const [at, input, output] = [column(COLUMNS.at), column(COLUMNS.input), column(COLUMNS.output)];
  const rows = lines.map((line, index) => {
    const cells = line.split(',').map((cell) => cell.trim());
    const atMs = timeMs(cells[at] ?? '');
    const [inputTokens, outputTokens] = [tokens.safeParse(cells[input]), tokens.safeParse(cells[output])];
    if (atMs === undefined || !inputTokens.success || !outputTokens.success)
      throw invalid(`${name}, line ${index + 2}`, 'no time, or lengths that are not whole numbers above 0');
    return { atMs, inputTokens: inputTokens.data, outputTokens: outputTokens.data };
  });
  return checked(name, rows);
}

/** Seconds as a number, or a date (of which Azure's have seven digits of a second, and no zone). */
function timeMs(cell: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(cell)) return 1_000 * Number(cell);
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/.test(cell) ? cell : `${cell}Z`;
  const ms = Date.parse(zoned.replace(' ', 'T'));
  return Number.isNaN(ms) ? undefined : ms;
}

/** In the order of time, from nought on. */
function checked(name: string, rows: readonly TraceRow[]): TraceRow[] {
  if (rows.length === 0) throw invalid(name, 'no requests');
  if (rows.length > MOST_ROWS) throw invalid(name, `more than ${MOST_ROWS} requests`);
  const sorted = rows.toSorted((a, b) => a.atMs - b.atMs);
  const beginMs = sorted[0]?.atMs ?? 0;
  return sorted.map((row) => ({ ...row, atMs: row.atMs - beginMs }));
}

/** Prompts of a trace's lengths; blocks that a trace names alike are the same text. */
export class TraceWorkload implements Workload {
  readonly count: number;
  readonly arrivalsMs: readonly number[];

  /** @param speed times as fast as the trace */
  constructor(
    readonly seed: number,
    readonly rows: readonly TraceRow[],
    speed: number,
    readonly words: WordTokens,
  ) {
    this.count = rows.length;
    this.arrivalsMs = rows.map(({ atMs }) => atMs / speed);
  }

  conversation(number: number): Conversation {
    const row = this.rows[number];
    if (row === undefined) throw new RangeError(`request ${number} of ${this.count}`);
    return {
      number,
      turns: [{ text: this.#text(number, row), pictures: [], outputTokens: row.outputTokens }],
    };
  }

  #text(number: number, { inputTokens, blocks }: TraceRow): string {
    if (blocks === undefined) return textOf(this.seed, number, wordsFor(inputTokens, this.words));
    const whole = wordsFor(MOONCAKE_BLOCK, { ...this.words, overhead: 0 });
    let rest = wordsFor(inputTokens, this.words);
    const texts: string[] = [];
    for (const block of blocks) {
      if (rest <= 0) break;
      // a block that is cut off is the beginning of the whole one
      texts.push(textOf(mixSeed(this.seed, 1), block, Math.min(rest, whole)));
      rest -= whole;
    }
    return texts.join(' ');
  }
}

/** ShareGPT's conversations: what people wrote, turn by turn; the server answers. */
export class ShareGptWorkload implements Workload {
  readonly #conversations: readonly (readonly string[])[];

  /**
   * @param turns most turns of a conversation
   * @param outputTokens most tokens of an answer
   * @throws KvcError CONFIG_INVALID for a file of another shape, or without a conversation
   */
  constructor(
    name: string,
    text: string,
    turns: number,
    readonly outputTokens: number,
  ) {
    const file = shareGptFile.safeParse(jsonOf(name, text));
    if (!file.success) throw invalid(name, 'not a list of conversations as ShareGPT has them', file.error);
    this.#conversations = file.data
      .map(({ conversations }) =>
        conversations
          .filter(({ from, value }) => ['human', 'user'].includes(from) && value !== '')
          .map(({ value }) => value)
          .slice(0, turns),
      )
      .filter(({ length }) => length > 0);
    if (this.#conversations.length === 0) throw invalid(name, 'no conversation with a turn of a person');
  }

  get distinct(): number {
    return this.#conversations.length;
  }

  /** From the first one again after the last. */
  conversation(number: number): Conversation {
    const { outputTokens } = this;
    const texts = this.#conversations[number % this.#conversations.length] ?? [];
    return { number, turns: texts.map((text) => ({ text, pictures: [], outputTokens })) };
  }
}
