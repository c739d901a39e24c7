const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1.24 GiB`: three digits at most, so that numbers of a column keep their width. */
export function bytes(count: number): string {
  let [value, unit] = [Math.max(0, count), 0];
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${digits(value, unit === 0)} ${UNITS[unit] ?? ''}`;
}

function digits(value: number, isWhole: boolean): string {
  if (isWhole || value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const whole = (count: number): string => WHOLE.format(count);

/** One decimal below a hundred, where it still says something. */
export const rate = (perSecond: number): string =>
  perSecond > 0 && perSecond < 100 ? TENTHS.format(perSecond) : WHOLE.format(perSecond);

/** `840 ms`, `12.4 s`, `3 min 20 s`; a dash where nothing was measured. */
export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (value === 0) return '0 s';
  if (value < 0.0995) return `${(value * 1_000).toFixed(1)} ms`;
  if (value < 0.9995) return `${(value * 1_000).toFixed(0)} ms`;
  if (value < 99.5) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}

/** `4.8×`; a dash where nothing is stored. */
export function times(raw: number, stored: number): string {
  return stored > 0 && raw > 0 ? `${(raw / stored).toFixed(1)}×` : '–';
}

export function percent(part: number, all: number): string {
  return all > 0 ? `${((100 * part) / all).toFixed(0)} %` : '–';
}

/** The time of day of seconds since 1970. */
export function clock(at: number): string {
  return new Date(at * 1_000).toLocaleTimeString('en-GB');
}

/** `1 worker`, `2 workers`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
