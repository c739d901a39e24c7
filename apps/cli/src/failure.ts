import { KvcError } from '@kvcapsule/contracts/errors';

/** A fault the person at the terminal can act on: printed without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError';

  /** @param hint what to do about it, one line */
  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}

/** For what goes on after such a fault; any other is thrown on. */
export function cliErrorOf(error: unknown): CliError {
  if (error instanceof CliError) return error;
  throw error;
}

/** What the terminal shows for a fault; a stack only where it is a bug of ours. */
export function describeFailure(error: unknown): string {
  if (error instanceof CliError)
    return error.hint === undefined ? error.message : `${error.message}\n${error.hint}`;
  if (error instanceof KvcError) return `${error.message} (${error.code})`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
