import type { AnswerListener, Usage } from '../client/index.js';
import type { RequestRecord } from '../measurement/index.js';

/** What is known of a request before it is answered. */
export type Asked = Pick<RequestRecord, 'conversation' | 'turn' | 'intendedMs' | 'pictures'> & {
  sentMs: number;
};

export interface ExchangeOptions {
  readonly asked: Asked;
  readonly now: () => number;
  readonly onPart: () => void;
  readonly onEnd: (exchange: Exchange, record: RequestRecord) => void;
}

const NOTHING: Usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };

/** One request on its way: takes the times of what comes. */
export class Exchange implements AnswerListener {
  /** Ms between pieces of text. */
  readonly gaps: number[] = [];
  /** The text, where the transport was asked to tell it. */
  text = '';
  isOver = false;
  #firstMs: number | undefined;
  #lastMs = 0;
  #parts = 0;
  #longestGapMs = 0;
  #usage = NOTHING;

  constructor(readonly options: ExchangeOptions) {}

  part(text?: string): void {
    const nowMs = this.options.now();
    if (this.#firstMs === undefined) this.#firstMs = nowMs;
    else {
      const gapMs = nowMs - this.#lastMs;
      this.gaps.push(gapMs);
      if (gapMs > this.#longestGapMs) this.#longestGapMs = gapMs;
    }
    this.#lastMs = nowMs;
    this.#parts += 1;
    if (text !== undefined) this.text += text;
    this.options.onPart();
  }

  usage(usage: Usage): void {
    this.#usage = usage;
  }

  end(outcome: string): void {
    if (this.isOver) return;
    this.isOver = true;
    const { asked, now, onEnd } = this.options;
    onEnd(this, {
      ...asked,
      ...(this.#firstMs !== undefined && { firstMs: this.#firstMs, lastMs: this.#lastMs }),
      ...{ endMs: now(), outcome, parts: this.#parts, longestGapMs: this.#longestGapMs },
      ...this.#usage,
    });
  }
}
