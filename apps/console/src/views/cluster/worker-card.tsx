import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { bytes, percent, rate, times, whole } from '../../format.js';
import { PageGrid } from '../../parts/page-grid.js';
import { useSize } from '../../parts/use-size.js';
import { inUse, pagesOf, type Runs } from '../../state/page-cells.js';
import { usePageMap } from './use-page-map.js';

const GRID_HEIGHT = 132;
const LARGEST_PITCH = 12;
const LEAST_PITCH = 6;

/** One worker: what its pool holds page by page, and what it does. */
export function WorkerCard({ worker }: { readonly worker: ClusterWorker }) {
  const runs = usePageMap(worker);
  const [holder, { width }] = useSize<HTMLDivElement>();
  const { id, state, model, held, pages, leased_pages: leased } = worker;
  const { pitch, shown } = layoutOf(runs, width);
  return (
    <article class="worker" data-state={state} aria-label={`Worker ${id}`}>
      <header>
        <h3>{id}</h3>
        <span class="state" data-state={state}>
          {worker.breaker === 'open' ? 'left alone' : state}
        </span>
      </header>
      <p class="hint">
        {model} · {worker.codec}
        {worker.address !== null && ` · ${worker.address}`}
        {worker.silent_seconds > 0 && ` · silent for ${worker.silent_seconds} s`}
      </p>
      <div ref={holder} class="grid-holder" style={{ height: `${GRID_HEIGHT}px` }}>
        {width > 0 && (
          <PageGrid runs={shown} width={width} height={GRID_HEIGHT} pitch={pitch} label={labelOf(worker)} />
        )}
      </div>
      <p class="hint num">{extentOf(pagesOf(shown), pages)}</p>
      <div class="meter" role="img" aria-label={`${percent(leased, pages)} of the pages are leased`}>
        <span style={{ width: `${(100 * leased) / Math.max(1, pages)}%` }} />
      </div>
      <dl class="facts num">
        <Fact name="Leased">{percent(leased, pages)}</Fact>
        <Fact name="Stored">{held ? bytes(held.stored_bytes) : '–'}</Fact>
        <Fact name="Smaller">{held ? times(held.raw_bytes, held.stored_bytes) : '–'}</Fact>
        <Fact name="Running">{whole(worker.running)}</Fact>
        <Fact name="Waiting">{whole(worker.waiting)}</Fact>
        <Fact name="Tok/s">{rate(worker.tokens_per_second)}</Fact>
      </dl>
    </article>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Cells as large as what is shown fits, and what is shown. */
function layoutOf(runs: Runs, width: number): { readonly pitch: number; readonly shown: Runs } {
  const cellsAt = (pitch: number) => Math.floor(width / pitch) * Math.floor(GRID_HEIGHT / pitch);
  for (let pitch = LARGEST_PITCH; pitch > LEAST_PITCH; pitch -= 1) {
    const shown = inUse(runs, cellsAt(pitch));
    if (cellsAt(pitch) >= pagesOf(shown)) return { pitch, shown };
  }
  return { pitch: LEAST_PITCH, shown: inUse(runs, cellsAt(LEAST_PITCH)) };
}

const extentOf = (shown: number, pages: number) =>
  shown < pages ? `first ${whole(shown)} of ${whole(pages)} pages` : `all ${whole(pages)} pages`;

function labelOf({ held, pages }: ClusterWorker): string {
  if (!held) return `${whole(pages)} pages`;
  const { capsule, raw, cached, free } = held;
  return `${whole(capsule)} capsule, ${whole(raw)} raw, ${whole(cached)} cached and ${whole(free)} free pages`;
}
