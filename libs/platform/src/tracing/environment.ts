import { statSync } from 'node:fs';
import { validateHeaderName, validateHeaderValue } from 'node:http';

type Environment = Readonly<Record<string, string | undefined>>;

interface Range {
  readonly least: number;
  readonly most: number;
}

/**
 * Reads OpenTelemetry's variables. What its specification says to ignore is ignored and noted; what would send spans
 * nowhere, or with the wrong key, is a fault. Neither tells a value: some are secrets.
 */
export class OtelEnvironment {
  readonly faults: string[] = [];
  readonly ignored: string[] = [];

  constructor(private readonly env: Environment) {}

  /** One of blanks alone is not set. */
  text(name: string): string | undefined {
    const value = this.env[name]?.trim() ?? '';
    return value === '' ? undefined : value;
  }

  /** Any other value than these, in capitals or not, is ignored. */
  choice<Value extends string>(name: string, values: readonly Value[], otherwise: Value): Value {
    const text = this.text(name)?.toLowerCase();
    if (text === undefined) return otherwise;
    const value = values.find((known) => known === text);
    if (value === undefined) this.#ignore(name, `it may be ${values.join(', ')}; ${otherwise} holds`);
    return value ?? otherwise;
  }

  /** One that is none, or out of the range, is ignored. */
  number(name: string, { least, most }: Range, otherwise: number): number {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const value = Number(text);
    if (value >= least && value <= most) return value;
    this.#ignore(
      name,
      `it must be a number from ${String(least)} to ${String(most)}; ${String(otherwise)} holds`,
    );
    return otherwise;
  }

  /** Where spans are sent. A mistake in it is a fault: the exporter would take another address without a word. */
  endpoint(name: string): URL | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const url = URL.parse(text);
    const isRight = url && ['http:', 'https:'].includes(url.protocol) && url.hash === '';
    if (isRight) return url;
    this.faults.push(`${name}: must be the URL of an OTLP/HTTP receiver, as http://127.0.0.1:4318`);
    return undefined;
  }

  /** Pairs that are resource attributes; a list that cannot be read is ignored as a whole. */
  attributes(name: string): Readonly<Record<string, string>> {
    const pairs = pairsOf(this.text(name));
    if (!pairs) this.#ignore(name, `it ${PAIRS}`);
    return Object.fromEntries(pairs ?? []);
  }

  /** Pairs that are headers. A mistake in them is a fault: the receiver would refuse what comes without its key. */
  headers(name: string): void {
    const isHeader = ([key, value]: Pair) => {
      try {
        validateHeaderName(key);
        validateHeaderValue(key, value);
        return value !== '';
      } catch {
        return false;
      }
    };
    if (pairsOf(this.text(name))?.every(isHeader) !== true) this.faults.push(`${name}: ${PAIRS}`);
  }

  file(name: string): void {
    const path = this.text(name);
    if (path === undefined) return;
    const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
    if (!isFile) this.faults.push(`${name}: must be the path of a file; there is none`);
  }

  #ignore(name: string, why: string): void {
    this.ignored.push(`${name} is ignored: ${why}`);
  }
}

const PAIRS = 'must be pairs as name=value with commas between, and in values %2C for a comma';

type Pair = readonly [key: string, value: string];

/** Of a list in the form of W3C Baggage, without properties; undefined for what is none. */
function pairsOf(text = ''): readonly Pair[] | undefined {
  const entries = text.split(',').filter((entry) => entry.trim() !== '');
  const pairs = entries.map((entry): Pair | undefined => {
    const at = entry.indexOf('=');
    if (at <= 0) return undefined;
    try {
      const [key, value] = [entry.slice(0, at), entry.slice(at + 1)].map((part) =>
        decodeURIComponent(part.trim()),
      );
      return key ? [key, value ?? ''] : undefined;
    } catch {
      return undefined;
    }
  });
  return pairs.every((pair) => pair !== undefined) ? pairs : undefined;
}
