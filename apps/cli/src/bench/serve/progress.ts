import type { ShardState } from '@kvcapsule/load/generator';
import { quantileOf, sortedOf } from '@kvcapsule/load/measurement';

const EVERY_MS = { terminal: 500, lines: 5_000 };
/** Back to the begin of the line, and everything after it away. */
const REWRITE = '\r\u001b[K';

interface Out {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

const ms = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(0)} ms` : '–');

/** One line of how a load goes: rewritten in a terminal, one after another elsewhere. */
export class Progress {
  readonly #states = new Map<number, ShardState>();
  #ttftMs: number[] = [];
  #last = { atMs: 0, ok: 0, parts: 0 };
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly out: Out,
    readonly title: string,
    readonly now: () => number = () => performance.now(),
  ) {}

  begin(): void {
    this.#last = { ...this.#last, atMs: this.now() };
    const isTerminal = this.out.isTTY === true;
    this.#timer = setInterval(
      () => {
        this.out.write(isTerminal ? `${REWRITE}${this.line()}` : `${this.line()}\n`);
      },
      isTerminal ? EVERY_MS.terminal : EVERY_MS.lines,
    );
  }

  take(process: number, state: ShardState): void {
    this.#states.set(process, state);
    this.#ttftMs.push(...state.ttftMs);
  }

  /** What has happened, and since the last line how fast. */
  line(): string {
    const states = [...this.#states.values()];
    const sum = (of: (state: ShardState) => number) => states.reduce((all, state) => all + of(state), 0);
    const [ok, parts, atMs] = [sum((state) => state.ok), sum((state) => state.parts), this.now()];
    const seconds = Math.max(0.001, (atMs - this.#last.atMs) / 1_000);
    const perSecond = (count: number) => (count / seconds).toFixed(1);
    const sorted = sortedOf(this.#ttftMs);
    const fields = [
      this.title,
      `${sum((state) => state.sent)} sent`,
      `${sum((state) => state.open)} open`,
      `${ok} ok`,
      `${sum((state) => state.failed)} failed`,
      `${perSecond(ok - this.#last.ok)} requests/s`,
      `${perSecond(parts - this.#last.parts)} chunks/s`,
      `TTFT p50 ${ms(quantileOf(sorted, 0.5))}, p99 ${ms(quantileOf(sorted, 0.99))}`,
    ];
    this.#last = { atMs, ok, parts };
    this.#ttftMs = [];
    return fields.join(' · ');
  }

  end(): void {
    clearInterval(this.#timer);
    if (this.out.isTTY === true) this.out.write(REWRITE);
  }
}
