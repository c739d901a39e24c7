import type { Entry, Line } from './line.js';

/** Bounds, and what of them is used with the newcomer. */
interface Bounds {
  readonly entries: number;
  readonly bytes: number;
}

/**
 * Whom to send away so that a newcomer fits: of the line that takes most of the queue for its weight the last, which is
 * the lowest in priority and the newest, and so on. Undefined where that is the newcomer itself.
 *
 * @param excess entries and bytes that are too many with it
 */
export function whomToShed(
  newcomer: Entry,
  lines: Iterable<Line>,
  limits: Bounds,
  excess: Bounds,
): readonly Entry[] | undefined {
  const stock = [...lines].map((line) => new Stock(line));
  const own = stock.find(({ line }) => line === newcomer.line) ?? new Stock(newcomer.line);
  if (!stock.includes(own)) stock.push(own);
  own.add(newcomer);
  const shed: Entry[] = [];
  let { entries, bytes } = excess;
  while (entries > 0 || bytes > 0) {
    const { last } = stock.reduce((most, each) => (each.share(limits) > most.share(limits) ? each : most));
    if (!last || last === newcomer) return undefined;
    shed.push(last);
    entries -= 1;
    bytes -= last.ask.bytes;
    stock.find(({ line }) => line === last.line)?.drop(last);
  }
  return shed;
}

/** A line with what would be left of it. */
class Stock {
  #entries: number;
  #bytes: number;
  #last: Entry | undefined;
  #newcomer: Entry | undefined;
  readonly #others: Iterator<Entry>;

  constructor(readonly line: Line) {
    this.#entries = line.size;
    this.#bytes = line.bytes;
    this.#others = line.fromTheEnd()[Symbol.iterator]();
    this.#last = this.#take();
  }

  get last(): Entry | undefined {
    const newcomer = this.#newcomer;
    return newcomer && newcomer.orderMs >= (this.#last?.orderMs ?? -Infinity) ? newcomer : this.#last;
  }

  /** The larger part of the two bounds, over the weight; nothing can be had of a line whose entries all try. */
  share(limits: Bounds): number {
    if (!this.last) return -Infinity;
    return Math.max(this.#entries / limits.entries, this.#bytes / limits.bytes) / this.line.weight;
  }

  add(newcomer: Entry): void {
    this.#newcomer = newcomer;
    this.#entries += 1;
    this.#bytes += newcomer.ask.bytes;
  }

  drop({ ask }: Entry): void {
    this.#entries -= 1;
    this.#bytes -= ask.bytes;
    this.#last = this.#take();
  }

  #take(): Entry | undefined {
    const { value } = this.#others.next() as { value: Entry | undefined };
    return value;
  }
}
