import type { Panel } from '../dashboards/board.js';

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
const COUNTS = ['', 'k', 'M', 'G'];

function scaled(value: number, base: number, names: readonly string[], decimals: number | undefined): string {
  let rest = value;
  let step = 0;
  for (; Math.abs(rest) >= base && step < names.length - 1; step += 1) rest /= base;
  return `${trimmed(rest, decimals ?? digits(rest))} ${names[step] ?? ''}`.trim();
}

function trimmed(value: number, decimals: number): string {
  return String(Number(value.toFixed(decimals)));
}

/** Three digits that count. */
function digits(value: number): number {
  const size = Math.abs(value);
  if (size === 0 || size >= 100) return 0;
  return size >= 10 ? 1 : 2;
}

function seconds(value: number, decimals: number | undefined): string {
  if (value === 0) return '0 s';
  if (Math.abs(value) >= 1) return `${trimmed(value, decimals ?? digits(value))} s`;
  const isTiny = Math.abs(value) < 0.001;
  const small = value * (isTiny ? 1e6 : 1e3);
  return `${trimmed(small, decimals ?? digits(small))} ${isTiny ? 'µs' : 'ms'}`;
}

/** A value as Grafana writes it in a panel's unit. */
export function written(value: number, { unit, decimals }: Pick<Panel, 'unit' | 'decimals'>): string {
  switch (unit) {
    case 's':
      return seconds(value, decimals);
    case 'bytes':
      return scaled(value, 1024, BYTES, decimals);
    case 'percentunit':
      return `${trimmed(value * 100, decimals ?? 1)} %`;
    case 'times':
      return `${trimmed(value, decimals ?? 1)}×`;
    case 'reqps':
      return `${trimmed(value, decimals ?? digits(value))} req/s`;
    case 'ops':
      return `${trimmed(value, decimals ?? digits(value))} /s`;
    case 'tokens/s':
    case 'pages/s':
      return `${scaled(value, 1000, COUNTS, decimals)} ${unit}`;
    case 'short':
    case 'none':
      return scaled(value, 1000, COUNTS, decimals);
  }
}
