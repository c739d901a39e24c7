import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { bytes, percent, rate, times, whole } from '../../format.js';
import { PageGrid } from '../../parts/page-grid.js';
import { useSize } from '../../parts/use-size.js';
import { usePageMap } from './use-page-map.js';

const GRID_HEIGHT = 132;
const LARGEST_PITCH = 12;
const LEAST_PITCH = 6;

/** One worker: what its pool holds page by page, and what it does. */
export function WorkerCard({ worker }: { readonly worker: ClusterWorker }) {
  const runs = usePageMap(worker);
  const [holder, { width }] = useSize<HTMLDivElement>();
  const { id, state, model, held, pages, leased_pages: leased } = worker;
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
          <PageGrid
            runs={runs}
            width={width}
            height={GRID_HEIGHT}
            pitch={pitchOf(pages, width)}
            label={labelOf(worker)}
          />
        )}
      </div>
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

/** As large as all pages fit. */
function pitchOf(pages: number, width: number): number {
  for (let pitch = LARGEST_PITCH; pitch > LEAST_PITCH; pitch -= 1)
    if (Math.floor(width / pitch) * Math.floor(GRID_HEIGHT / pitch) >= pages) return pitch;
  return LEAST_PITCH;
}

function labelOf({ held, pages }: ClusterWorker): string {
  if (!held) return `${whole(pages)} pages`;
  const { capsule, raw, cached, free } = held;
  return `${whole(capsule)} capsule, ${whole(raw)} raw, ${whole(cached)} cached and ${whole(free)} free pages`;
}
