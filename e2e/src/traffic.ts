import { until } from './harness.js';

export interface TrafficOptions {
  /** Where routers answer; one that is left out is asked no more. */
  readonly urls: () => readonly string[];
  /** What is asked in a turn, of which each is another request. */
  readonly body: (turn: number) => object;
  /** How many ask at one time; 4 by default. */
  readonly clients?: number;
  /** What is wrong with an answer of status 200, if anything. */
  readonly fault?: (text: string, turn: number) => string | undefined;
}

/** Clients that ask one request after the other, of the routers in turns, until they are told to stop. */
export class Traffic {
  readonly failures: string[] = [];
  /** Answers by the worker that began them. */
  readonly answered = new Map<string, number>();
  #turns = 0;
  #isOver = false;
  readonly #clients: Promise<void>[];

  constructor(private readonly options: TrafficOptions) {
    this.#clients = Array.from({ length: options.clients ?? 4 }, () => this.#client());
  }

  get total(): number {
    return [...this.answered.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when this many more have been answered. */
  async more(count: number, timeoutMs = 60_000): Promise<void> {
    const goal = this.total + count;
    await until(() => this.total >= goal, timeoutMs);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  async #client(): Promise<void> {
    while (!this.#isOver) {
      const turn = this.#turns++;
      const failure = await this.#ask(turn).catch((error: unknown) => String(error));
      if (failure !== undefined) this.failures.push(`${String(turn)}: ${failure}`);
    }
  }

  async #ask(turn: number): Promise<string | undefined> {
    const urls = this.options.urls();
    const response = await fetch(`${urls[turn % urls.length]!}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-kvcapsule-receipt': '1' },
      body: JSON.stringify(this.options.body(turn)),
    });
    const text = await response.text();
    const worker = response.headers.get('x-kvcapsule-worker') ?? '';
    this.answered.set(worker, (this.answered.get(worker) ?? 0) + 1);
    if (response.status !== 200) return `${String(response.status)} ${text.slice(-300)}`;
    return this.options.fault?.(text, turn);
  }
}
