import type { Logger } from '@kvcapsule/platform/logging';
import type { LoggerService } from '@nestjs/common';

/** Lets Nest, and what logs by Nest's `Logger`, write the process's own JSON lines. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.#write('info', message, rest);
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.#write('error', message, rest);
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.#write('warn', message, rest);
  }

  debug(message: unknown, ...rest: unknown[]): void {
    this.#write('debug', message, rest);
  }

  verbose(message: unknown, ...rest: unknown[]): void {
    this.#write('trace', message, rest);
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.#write('fatal', message, rest);
  }

  /** Nest puts the context last; an object as message is fields, and its text comes behind it. */
  #write(
    level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace',
    message: unknown,
    rest: unknown[],
  ): void {
    const context = rest.at(-1);
    const texts = rest.slice(0, -1);
    if (message instanceof Error) this.logger[level]({ context, err: message }, texts.join(' '));
    else if (typeof message === 'object') this.logger[level]({ context, ...message }, texts.join(' '));
    else this.logger[level]({ context }, [message, ...texts].join(' '));
  }
}
