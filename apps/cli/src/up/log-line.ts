const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warning',
  50: 'error',
  60: 'fatal',
};

/** Of pino's levels, which are numbers where others' are words: below are lines of a sound process, such as one for each request. */
const LEAST_TELLING = 40;

/** Whether a line may say why its process ends: warnings and worse, and whatever is no log line at all. */
export function tellsWhy(line: string): boolean {
  if (!line.startsWith('{')) return line.trim() !== '';
  try {
    const { level, event } = JSON.parse(line) as { level?: unknown; event?: unknown };
    if (typeof level === 'string') return !['debug', 'info'].includes(level.toLowerCase());
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
      level?: number | string;
      msg?: string;
      err?: { message?: string } | string;
    };
    if (msg === undefined) return line;
    const reason = typeof err === 'string' ? err : err?.message;
    const cause = reason === undefined || reason === msg ? '' : `: ${reason}`;
    return `${typeof level === 'string' ? level : (LEVELS[level ?? 0] ?? 'log')}: ${msg}${cause}`;
  } catch {
    return line;
  }
}
