import { useEffect, useRef } from 'preact/hooks';
import { cellsOf, KINDS, type Runs } from '../state/page-cells.js';
import { isDark, token } from '../theme.js';

interface Props {
  readonly runs: Runs;
  /** In CSS pixels. */
  readonly width: number;
  readonly height: number;
  /** Side of a cell, its gap included; smaller where all pages fit so. */
  readonly pitch: number;
  readonly label: string;
}

/** A pool drawn as a grid of pages. Each kind has a shape of its own beside its colour. */
export function PageGrid({ runs, width, height, pitch, label }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const dark = isDark.value;
  useEffect(() => {
    if (canvas.current) draw(canvas.current, runs, { width, height, pitch });
  }, [runs, width, height, pitch, dark]);
  return <canvas ref={canvas} class="page-grid" role="img" aria-label={label} />;
}

interface Space {
  readonly width: number;
  readonly height: number;
  readonly pitch: number;
}

function draw(canvas: HTMLCanvasElement, runs: Runs, { width, height, pitch }: Space): void {
  const scale = devicePixelRatio;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.scale(scale, scale);
  const columns = Math.max(1, Math.floor(width / pitch));
  const cells = cellsOf(runs, columns * Math.max(1, Math.floor(height / pitch)));
  const size = pitch - Math.max(1, Math.round(pitch / 6));
  for (const [kind, name] of KINDS.entries()) {
    context.fillStyle = token(`page-${name}`);
    context.beginPath();
    for (const [at, each] of cells.entries())
      if (each === kind)
        SHAPES[name](context, (at % columns) * pitch, Math.floor(at / columns) * pitch, size);
    context.fill();
  }
}

type Shape = (context: CanvasRenderingContext2D, x: number, y: number, size: number) => void;

/** Told apart without colour: a dot, a low bar, a full square, a round capsule. */
const SHAPES: Readonly<Record<(typeof KINDS)[number], Shape>> = {
  free: (context, x, y, size) => {
    context.rect(x + size / 2 - 0.75, y + size / 2 - 0.75, 1.5, 1.5);
  },
  cached: (context, x, y, size) => {
    context.rect(x, y + size * 0.55, size, size * 0.45);
  },
  raw: (context, x, y, size) => {
    context.rect(x, y, size, size);
  },
  capsule: (context, x, y, size) => {
    context.roundRect(x, y + size * 0.1, size, size * 0.8, size / 2);
  },
};

const NAMES = { capsule: 'Capsule', raw: 'Raw', cached: 'Cached', free: 'Free' } as const;

export function PageLegend() {
  return (
    <ul class="legend" aria-label="Kinds of pages">
      {(['capsule', 'raw', 'cached', 'free'] as const).map((kind) => (
        <li key={kind}>
          <span class={`swatch swatch-${kind}`} aria-hidden="true" />
          {NAMES[kind]}
        </li>
      ))}
    </ul>
  );
}
