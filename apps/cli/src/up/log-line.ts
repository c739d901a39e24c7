const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warning',
  50: 'error',
  60: 'fatal',
};

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
