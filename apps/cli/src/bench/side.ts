/** What every side of the benchmark can do, so that one loop measures them in turn. */
export interface Side {
  readonly name: string;
  /** Makes room for `sequences` of at most `context` tokens; what was there is forgotten. */
  open(sequences: number, context: number): Promise<void>;
  /** Computes all prompts as one batch. */
  prefill(prompts: readonly (readonly number[])[]): Promise<Timed<number[]>>;
  /** Continues every sequence by its most likely token, all of them in each step. */
  decode(steps: number): Promise<Timed<number[][]>>;
  /** The same for all but the last sequence, which in each step takes `chunk` as a part of its prompt. */
  mixed?(steps: number, chunk: readonly number[]): Promise<Timed<number[][]>>;
  dispose(): Promise<void>;
}

export interface Timed<Tokens> {
  /** Of each step; a prefill is one. */
  readonly seconds: readonly number[];
  /** CPU time of all threads of the side's process, of all steps together: what a busy machine does not stretch. */
  readonly cpuSeconds: number;
  /** Most likely tokens of every sequence (of each step). */
  readonly tokens: Tokens;
}
