import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { useEffect, useRef } from 'preact/hooks';
import { useSize } from '../../parts/use-size.js';
import { cellsOf, KINDS, runsOfSums } from '../../state/page-cells.js';
import { isDark, token } from '../../theme.js';

interface Props {
  readonly workers: readonly ClusterWorker[];
  readonly selected: string;
  readonly onSelect: (id: string) => void;
}

const TILE = { width: 50, height: 34, gap: 6 } as const;
const COLUMNS = 10;
const ROWS = 5;

/** Hundreds of workers as tiles of one canvas: what their pools hold, and a mark where a worker is not ready. */
export function WorkerTiles({ workers, selected, onSelect }: Props) {
  const [holder, { width }] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const dark = isDark.value;
  const columns = Math.max(1, Math.floor((width + TILE.gap) / (TILE.width + TILE.gap)));
  const height = Math.ceil(workers.length / columns) * (TILE.height + TILE.gap);
  useEffect(() => {
    if (!canvas.current || width === 0) return undefined;
    const element = canvas.current;
    const frame = requestAnimationFrame(() => {
      draw(element, workers, { width, height, columns, selected });
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
}

function draw(
  canvas: HTMLCanvasElement,
  workers: readonly ClusterWorker[],
  { width, height, columns, selected }: Layout,
): void {
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  if (!context) return;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const paths = KINDS.map(() => new Path2D());
  const [frames, marked] = [new Path2D(), new Path2D()];
  for (const [at, worker] of workers.entries()) {
    const x = (at % columns) * (TILE.width + TILE.gap);
    const y = Math.floor(at / columns) * (TILE.height + TILE.gap);
    frames.roundRect(x + 0.5, y + 0.5, TILE.width - 1, TILE.height - 1, 4);
    if (worker.state !== 'ready') cross(marked, x, y);
    tile(paths, worker, x, y);
    if (worker.id === selected) ring(context, x, y);
  }
  context.fillStyle = token('surface-2');
  context.fill(frames);
  for (const [kind, name] of KINDS.entries()) {
    context.fillStyle = token(`page-${name}`);
    context.fill(paths[kind] ?? frames);
  }
  context.strokeStyle = token('bad');
  context.lineWidth = 2;
  context.stroke(marked);
}

function tile(
  paths: readonly Path2D[],
  { held, pages, leased_pages: leased }: ClusterWorker,
  x: number,
  y: number,
): void {
  const runs = runsOfSums(held ?? { raw: leased, capsule: 0, cached: 0, free: pages - leased });
  for (const [at, kind] of cellsOf(runs, COLUMNS * ROWS).entries()) {
    const [column, row] = [at % COLUMNS, Math.floor(at / COLUMNS)];
    const [left, top] = [x + 5 + column * 4, y + 7 + row * 4.2];
    if (kind === 0) paths[kind]?.rect(left + 1, top + 1, 1, 1);
    else if (kind === 1) paths[kind]?.rect(left, top + 1.6, 3, 1.4);
    else paths[kind]?.rect(left, top, 3, 3.2);
  }
}

function cross(path: Path2D, x: number, y: number): void {
  path.moveTo(x + TILE.width - 10, y + 4);
  path.lineTo(x + TILE.width - 4, y + 10);
  path.moveTo(x + TILE.width - 4, y + 4);
  path.lineTo(x + TILE.width - 10, y + 10);
}

function ring(context: CanvasRenderingContext2D, x: number, y: number): void {
  context.strokeStyle = token('accent');
  context.lineWidth = 2;
  context.strokeRect(x - 2, y - 2, TILE.width + 4, TILE.height + 4);
}
