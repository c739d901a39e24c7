import type { Logger } from 'pino';

/** For so long after its first line a fault is counted instead of told again. */
const QUIET_MS = 10_000;

/**
 * Warns of faults that may come in hundreds, such as while Redis is away: the first of a kind is a line at once,
 * its repetitions within ten seconds are one line with their count (`times`) and the last error.
 */
export class RepeatedFaults {
  /** By message. */
  readonly #counted = new Map<string, { times: number; error: unknown }>();

  constructor(private readonly logger: Logger) {}

  /** @param message names the kind: no ids in it */
  warn(error: unknown, message: string): void {
    const counted = this.#counted.get(message);
    if (counted) {
      counted.times += 1;
      counted.error = error;
      return;
    }
    this.logger.warn({ err: error }, message);
    this.#counted.set(message, { times: 0, error: undefined });
    setTimeout(() => {
      this.#tell(message);
    }, QUIET_MS).unref();
  }

  #tell(message: string): void {
    const { times = 0, error } = this.#counted.get(message) ?? {};
    this.#counted.delete(message);
    if (times > 0) this.logger.warn({ err: error, times }, message);
  }
}
