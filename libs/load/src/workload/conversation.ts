/** What one caller asks, turn by turn; each turn waits for the answer to the one before. */
export interface Conversation {
  readonly number: number;
  readonly turns: readonly PlannedTurn[];
}

export interface PlannedTurn {
  readonly text: string;
  /** Numbers of pictures, which stand before the text. */
  readonly pictures: readonly number[];
  /** Most tokens of the answer; absent: as the server likes. */
  readonly outputTokens?: number;
}

/** Where conversations come from. The n-th is the same in every process and every run of one seed. */
export interface Workload {
  /** Absent: without an end. */
  readonly count?: number;
  /** Different conversations, where the same ones come again after the last. */
  readonly distinct?: number;
  /** When each begins, ms from the start, ascending; of traces that say so. */
  readonly arrivalsMs?: readonly number[];
  conversation(number: number): Conversation;
}
