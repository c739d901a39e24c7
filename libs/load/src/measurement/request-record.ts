/** One request from its plan to its end; times in ms from the start of the run. */
export interface RequestRecord {
  /** Of its conversation, and which of its turns. */
  readonly conversation: number;
  readonly turn: number;
  /** When it was to be sent. Latencies count from here: a request that could not leave has waited, too. */
  readonly intendedMs: number;
  readonly sentMs: number;
  /** First piece of text; absent when none came. */
  readonly firstMs?: number;
  /** Last piece of text. */
  readonly lastMs?: number;
  readonly endMs: number;
  /** `ok`, `cancelled` (by this run, at its end), or the kind of its error. */
  readonly outcome: string;
  readonly pictures: number;
  /** Pieces of text. */
  readonly parts: number;
  readonly longestGapMs: number;
  /** As the server counts, 0 when it says nothing. */
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

export const isOk = ({ outcome }: RequestRecord): boolean => outcome === 'ok';

/** Of an answer without text: until its end, which is the first that is seen of it. */
export const ttftMs = ({ firstMs, endMs, intendedMs }: RequestRecord): number =>
  (firstMs ?? endMs) - intendedMs;
export const ttftFromSendMs = ({ firstMs, endMs, sentMs }: RequestRecord): number =>
  (firstMs ?? endMs) - sentMs;
export const e2eMs = ({ endMs, intendedMs }: RequestRecord): number => endMs - intendedMs;
export const e2eFromSendMs = ({ endMs, sentMs }: RequestRecord): number => endMs - sentMs;
export const lagMs = ({ sentMs, intendedMs }: RequestRecord): number => sentMs - intendedMs;

/** Between the first piece and the last; NaN without two. */
const spanMs = ({ firstMs = Number.NaN, lastMs = Number.NaN }: RequestRecord): number => lastMs - firstMs;

/** Mean time between two pieces of text; NaN without two. */
export const meanGapMs = (record: RequestRecord): number =>
  record.parts > 1 ? spanMs(record) / (record.parts - 1) : Number.NaN;

/** Time of each token after the first, tokens as the server counts them; NaN without two. */
export const tpotMs = (record: RequestRecord): number =>
  record.completionTokens > 1 ? spanMs(record) / (record.completionTokens - 1) : Number.NaN;
