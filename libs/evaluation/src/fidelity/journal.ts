import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import { QUESTION_KINDS } from '@kvcapsule/testing';
import { z } from 'zod';
import type { Cosines } from './attention-probe.js';
import type { Outcome } from './measure.js';
import { SUITES, type SuiteName } from './suites.js';

const VERSION = 2;

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
const headerSchema = z.strictObject({
  version: z.literal(VERSION),
  run: z.record(z.string(), z.string()),
  machines: z.array(z.string()),
  peakResidentBytes: z.int(),
});
type Header = z.infer<typeof headerSchema>;

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

const notJournal = (path: string) => new KvcError('CONFIG_INVALID', `journal ${path}: not a journal of eval`);

/** @throws KvcError CONFIG_INVALID when the text is another run's or no journal */
function parseJournal(
  path: string,
  text: string,
  run: Readonly<Record<string, string>>,
): { header: Header; records: SceneRecord[] } {
  const [first, ...lines] = parseLines(path, text);
  const header = headerSchema.safeParse(first);
  if (!header.success) throw notJournal(path);
  const other = Object.keys(run).find((field) => header.data.run[field] !== run[field]);
  if (other !== undefined) {
    throw new KvcError(
      'CONFIG_INVALID',
      `journal ${path}: its results are of another ${other}; delete it or name another --out`,
    );
  }
  const records = z.array(recordSchema).safeParse(lines);
  if (!records.success) throw notJournal(path);
  return { header: header.data, records: records.data as SceneRecord[] };
}

/**
 * Results so far, one JSON line an entry and scene, so that a run that was stopped goes on where it was and a
 * new entry is measured without the others. Records of another run (model, engine, series) are refused.
 */
export class Journal {
  readonly #path: string;
  readonly #records = new Map<string, SceneRecord>();
  #header: Header;

  private constructor(path: string, header: Header) {
    this.#path = path;
    this.#header = header;
  }

  /**
   * @param run what the records depend on besides their entry
   * @throws KvcError CONFIG_INVALID when the file is another run's or no journal
   */
  static async open(path: string, run: Readonly<Record<string, string>>): Promise<Journal> {
    const text = await readFile(path, 'utf8').catch(() => '');
    if (text === '') {
      const fresh = new Journal(path, { version: VERSION, run, machines: [], peakResidentBytes: 0 });
      await fresh.#write();
      return fresh;
    }
    const { header, records } = parseJournal(path, text, run);
    const journal = new Journal(path, header);
    for (const record of records) journal.#keep(record);
    // Without the half line behind the last whole one, or the next record would run on from it.
    await journal.#write();
    return journal;
  }

  /** Machines that measured what is in it, in the order in which they came. */
  get machines(): readonly string[] {
    return this.#header.machines;
  }

  /** The most that one process measuring for it ever held. */
  get peakResidentBytes(): number {
    return this.#header.peakResidentBytes;
  }

  find(entry: string, suite: SuiteName, scene: number): SceneRecord | undefined {
    return this.#records.get(keyOf(entry, suite, scene));
  }

  async add(records: readonly SceneRecord[]): Promise<void> {
    await appendFile(this.#path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    for (const record of records) this.#keep(record);
  }

  /**
   * Takes over what other journals of the same run hold.
   *
   * @throws KvcError CONFIG_INVALID when one is of another run, or two disagree about a scene
   */
  async merge(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const text = await readFile(path, 'utf8').catch((cause: unknown) => {
        throw new KvcError('CONFIG_INVALID', `journal ${path}: cannot be read`, { cause });
      });
      const { header, records } = parseJournal(path, text, this.#header.run);
      for (const record of records) {
        const mine = this.find(record.entry, record.suite, record.scene);
        if (mine !== undefined && JSON.stringify(mine) !== JSON.stringify(record)) {
          const what = `${record.suite}, scene ${record.scene}`;
          throw new KvcError('CONFIG_INVALID', `journal ${path}: another one disagrees about ${what}`);
        }
        this.#keep(record);
      }
      this.#measuredBy(header.machines, header.peakResidentBytes);
    }
    await this.#write();
  }

  /** Notes who measured, when all is measured. */
  async close(machine: string, peakResidentBytes: number): Promise<void> {
    this.#measuredBy([machine], peakResidentBytes);
    await this.#write();
  }

  #keep(record: SceneRecord): void {
    this.#records.set(keyOf(record.entry, record.suite, record.scene), record);
  }

  #measuredBy(machines: readonly string[], peakResidentBytes: number): void {
    this.#header = {
      ...this.#header,
      machines: [...new Set([...this.#header.machines, ...machines])],
      peakResidentBytes: Math.max(this.#header.peakResidentBytes, peakResidentBytes),
    };
  }

  async #write(): Promise<void> {
    const lines = [this.#header, ...this.#records.values()].map((line) => `${JSON.stringify(line)}\n`);
    // In one piece or not at all: it may hold hours of work.
    await writeFile(`${this.#path}.new`, lines.join(''));
    await rename(`${this.#path}.new`, this.#path);
  }
}
