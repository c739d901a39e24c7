import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { useEffect, useRef } from 'preact/hooks';
import { useSize } from '../../parts/use-size.js';
import { isDark, token } from '../../theme.js';

interface Props {
  readonly workers: readonly ClusterWorker[];
  readonly selected: string;
  readonly onSelect: (id: string) => void;
}

const TILE = { width: 50, height: 34, gap: 6 } as const;
/** Around a tile, for the ring of a chosen one. */
const MARGIN = 2;

/** Hundreds of workers as tiles of one canvas: what their pools hold, and a mark where a worker is not ready. */
export function WorkerTiles({ workers, selected, onSelect }: Props) {
  const [holder, { width }] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawn = useRef<(ClusterWorker | undefined)[]>([]);
  const dark = isDark.value;
  const columns = Math.max(1, Math.floor((width + TILE.gap) / (TILE.width + TILE.gap)));
  const height = Math.ceil(workers.length / columns) * (TILE.height + TILE.gap) + MARGIN;
  useEffect(() => {
    drawn.current = [];
  }, [width, height, selected, dark]);
  useEffect(() => {
    if (!canvas.current || width === 0) return undefined;
    const element = canvas.current;
    const frame = requestAnimationFrame(() => {
      draw(element, workers, { width, height, columns, selected, drawn: drawn.current });
    });
    return () => {
      cancelAnimationFrame(frame);
    };
  }, [workers, width, height, selected, dark]);
  const at = workers.findIndex(({ id }) => id === selected);
  const choose = (index: number) => {
    const worker = workers[Math.min(workers.length - 1, Math.max(0, index))];
    if (worker) onSelect(worker.id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    choose(at < 0 ? 0 : at + step);
  };
  const onClick = ({ offsetX, offsetY }: MouseEvent) => {
    const column = Math.floor(offsetX / (TILE.width + TILE.gap));
    const index = Math.floor(offsetY / (TILE.height + TILE.gap)) * columns + column;
    if (column < columns && index < workers.length) choose(index);
  };
  const worker = workers[at];
  return (
    <div ref={holder} class="tiles">
      <div
        class="tiles-focus"
        role="slider"
        tabIndex={0}
        aria-label="Workers; arrow keys choose one"
        aria-valuemin={1}
        aria-valuemax={workers.length}
        aria-valuenow={Math.max(0, at) + 1}
        aria-valuetext={worker ? `${worker.id}, ${worker.state}` : 'none chosen'}
        onKeyDown={onKeyDown}
      >
        <canvas ref={canvas} aria-hidden="true" onClick={onClick} />
      </div>
    </div>
  );
}

interface Layout {
  readonly width: number;
  readonly height: number;
  readonly columns: number;
  readonly selected: string;
  /** What stands where on the canvas, as it was last drawn: only what has changed is drawn again. */
  readonly drawn: (ClusterWorker | undefined)[];
}

function draw(
  canvas: HTMLCanvasElement,
  workers: readonly ClusterWorker[],
  { width, height, columns, selected, drawn }: Layout,
): void {
  const scale = devicePixelRatio;
  const context = canvas.getContext('2d');
  if (!context) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    drawn.length = 0;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  if (drawn.length === 0) context.clearRect(0, 0, width, height);
  const colors = colorsOf();
  for (const [at, worker] of workers.entries()) {
    if (drawn[at] === worker) continue;
    const x = (at % columns) * (TILE.width + TILE.gap) + MARGIN;
    const y = Math.floor(at / columns) * (TILE.height + TILE.gap) + MARGIN;
    drawTile(context, worker, { x, y, colors, isSelected: worker.id === selected });
    // a chosen one is drawn again once it is not
    drawn[at] = worker.id === selected ? undefined : worker;
  }
}

const colorsOf = () => ({
  ...{ ground: token('surface-2'), bad: token('bad'), accent: token('accent') },
  ...{ capsule: token('page-capsule'), raw: token('page-raw'), cached: token('page-cached') },
  free: token('page-free'),
});

/** Shares of a pool on one line, each kind as high as nobody else: told apart without colour. */
const BANDS = [
  { kind: 'capsule', top: 7, height: 20 },
  { kind: 'raw', top: 11, height: 16 },
  { kind: 'cached', top: 19, height: 8 },
  { kind: 'free', top: 25, height: 2 },
] as const;

interface Place {
  readonly x: number;
  readonly y: number;
  readonly colors: ReturnType<typeof colorsOf>;
  readonly isSelected: boolean;
}

function drawTile(
  context: CanvasRenderingContext2D,
  { held, pages, leased_pages: leased, state }: ClusterWorker,
  { x, y, colors, isSelected }: Place,
): void {
  context.clearRect(x - MARGIN, y - MARGIN, TILE.width + 2 * MARGIN, TILE.height + 2 * MARGIN);
  context.fillStyle = colors.ground;
  context.fillRect(x, y, TILE.width, TILE.height);
  const shares = held ?? { raw: leased, capsule: 0, cached: 0, free: pages - leased };
  let left = x + 5;
  for (const { kind, top, height } of BANDS) {
    const width = ((TILE.width - 10) * shares[kind]) / Math.max(1, pages);
    context.fillStyle = colors[kind];
    context.fillRect(left, y + top, width, height);
    left += width;
  }
  if (state !== 'ready') drawCross(context, x, y, colors.bad);
  if (!isSelected) return;
  context.strokeStyle = colors.accent;
  context.lineWidth = 2;
  context.strokeRect(x - 1, y - 1, TILE.width + 2, TILE.height + 2);
}

function drawCross(context: CanvasRenderingContext2D, x: number, y: number, color: string): void {
  const [left, right, top, bottom] = [x + TILE.width - 11, x + TILE.width - 4, y + 4, y + 11];
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(left, top);
  context.lineTo(right, bottom);
  context.moveTo(right, top);
  context.lineTo(left, bottom);
  context.stroke();
}
