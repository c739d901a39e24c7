const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warning',
  50: 'error',
  60: 'fatal',
};

/** Of pino's levels: below are lines of a sound process, such as one for each request. */
const LEAST_TELLING = 40;

/** Whether a line may say why its process ends: warnings and worse, and whatever is no log line at all. */
export function tellsWhy(line: string): boolean {
  if (!line.startsWith('{')) return line.trim() !== '';
  try {
    const { level, event } = JSON.parse(line) as { level?: unknown; event?: unknown };
    return typeof level === 'number' ? level >= LEAST_TELLING : event === undefined;
  } catch {
    return true;
  }
}

/** A JSON log line as a person reads it; any other line as it is. */
export function readableLogLine(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const { level, msg, err } = JSON.parse(line) as {
      level?: number;
      msg?: string;
      err?: { message?: string };
    };
    if (msg === undefined) return line;
    const cause = err?.message === undefined || err.message === msg ? '' : `: ${err.message}`;
    return `${LEVELS[level ?? 0] ?? 'log'}: ${msg}${cause}`;
  } catch {
    return line;
  }
}
