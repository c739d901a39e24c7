import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import { QUESTION_KINDS } from '@kvcapsule/testing';
import { z } from 'zod';
import type { Cosines } from './attention-probe.js';
import type { Outcome } from './measure.js';
import { SUITES, type SuiteName } from './suites.js';

const VERSION = 1;

const outcomeSchema = z.strictObject({
  kind: z.enum(QUESTION_KINDS as [Outcome['kind'], ...Outcome['kind'][]]),
  correct: z.boolean(),
  klNats: z.array(z.number()),
  agreed: z.int(),
  turn: z.int().optional(),
  pictures: z.int().optional(),
  place: z.int().optional(),
  pictureBytes: z.strictObject({ held: z.int(), raw: z.int() }).optional(),
});
const recordSchema = z.strictObject({
  entry: z.string(),
  suite: z.enum(SUITES),
  scene: z.int(),
  outcomes: z.array(outcomeSchema),
  cosines: z.strictObject({ samples: z.int(), sums: z.array(z.array(z.number())) }).optional(),
});
const headerSchema = z.strictObject({ version: z.literal(VERSION), run: z.record(z.string(), z.string()) });

/** What one entry did with all questions about one scene of a suite. */
export interface SceneRecord {
  readonly entry: string;
  readonly suite: SuiteName;
  readonly scene: number;
  readonly outcomes: readonly Outcome[];
  /** Of the suite `attention`, for what is a format of the engine. */
  readonly cosines?: Cosines;
}

const keyOf = (entry: string, suite: SuiteName, scene: number) => `${entry} ${suite} ${scene}`;

/** A last line that a stop has cut short is worth nothing; any other damage is not ours. */
function parseLines(path: string, text: string): unknown[] {
  const lines = text.split('\n');
  const whole = lines.slice(0, -1);
  return whole.map((line, number) => {
    try {
      return JSON.parse(line) as unknown;
    } catch (cause) {
      throw new KvcError('CONFIG_INVALID', `journal ${path}: line ${number + 1} is not JSON`, { cause });
    }
  });
}

/**
 * Results so far, one JSON line an entry and scene, so that a run that was stopped goes on where it was and a
 * new entry is measured without the others. Records of another run (model, engine, series) are refused.
 */
export class Journal {
  readonly #path: string;
  readonly #records: Map<string, SceneRecord>;

  private constructor(path: string, records: Map<string, SceneRecord>) {
    this.#path = path;
    this.#records = records;
  }

  /**
   * @param run what the records depend on besides their entry
   * @throws KvcError CONFIG_INVALID when the file is another run's or no journal
   */
  static async open(path: string, run: Readonly<Record<string, string>>): Promise<Journal> {
    const text = await readFile(path, 'utf8').catch(() => '');
    const [first, ...lines] = parseLines(path, text);
    if (first === undefined) {
      await writeFile(path, `${JSON.stringify({ version: VERSION, run })}\n`);
      return new Journal(path, new Map());
    }
    const header = headerSchema.safeParse(first);
    if (!header.success) throw new KvcError('CONFIG_INVALID', `journal ${path}: not a journal of eval`);
    const other = Object.keys(run).find((field) => header.data.run[field] !== run[field]);
    if (other !== undefined) {
      throw new KvcError(
        'CONFIG_INVALID',
        `journal ${path}: its results are of another ${other}; delete it or name another --out`,
      );
    }
    const records = z.array(recordSchema).safeParse(lines);
    if (!records.success) throw new KvcError('CONFIG_INVALID', `journal ${path}: not a journal of eval`);
    // Without the half line behind the last whole one, or the next record would run on from it.
    await writeFile(path, text.slice(0, text.lastIndexOf('\n') + 1));
    return new Journal(
      path,
      new Map(
        records.data.map((record) => [
          keyOf(record.entry, record.suite, record.scene),
          record as SceneRecord,
        ]),
      ),
    );
  }

  find(entry: string, suite: SuiteName, scene: number): SceneRecord | undefined {
    return this.#records.get(keyOf(entry, suite, scene));
  }

  async add(records: readonly SceneRecord[]): Promise<void> {
    await appendFile(this.#path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    for (const record of records) this.#records.set(keyOf(record.entry, record.suite, record.scene), record);
  }
}
