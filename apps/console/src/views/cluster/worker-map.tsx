import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { useSignal } from '@preact/signals';
import { plural } from '../../format.js';
import { PageLegend } from '../../parts/page-grid.js';
import { WorkerCard } from './worker-card.js';
import { WorkerTable } from './worker-table.js';
import { WorkerTiles } from './worker-tiles.js';

/** More workers than this are drawn as tiles of one canvas. */
const MOST_CARDS = 24;

/** All workers with what their pools hold, as a map or as a table. */
export function WorkerMap({ workers }: { readonly workers: readonly ClusterWorker[] }) {
  const asTable = useSignal(false);
  const filter = useSignal('');
  const selected = useSignal('');
  const wanted = filter.value.toLowerCase();
  const shown =
    wanted === ''
      ? workers
      : workers.filter(({ id, model, state }) => `${id} ${model} ${state}`.toLowerCase().includes(wanted));
  const isMany = shown.length > MOST_CARDS;
  const chosen = isMany || asTable.value ? workers.find(({ id }) => id === selected.value) : undefined;
  const choose = (id: string) => {
    selected.value = id;
  };
  return (
    <section class="panel map" aria-labelledby="map-title">
      <div class="map-head">
        <h2 id="map-title">{plural(shown.length, 'worker')}</h2>
        <PageLegend />
        {workers.length > 1 && (
          <input
            class="filter"
            type="search"
            placeholder="Filter by id, model, state"
            aria-label="Filter workers"
            value={filter}
            onInput={({ currentTarget }) => {
              filter.value = currentTarget.value;
            }}
          />
        )}
        <label class="check">
          <input
            type="checkbox"
            checked={asTable}
            onChange={({ currentTarget }) => {
              asTable.value = currentTarget.checked;
            }}
          />
          <span>Table</span>
        </label>
      </div>
      {shown.length === 0 && <p class="empty-line">{noneOf(workers.length)}</p>}
      {asTable.value && shown.length > 0 && (
        <WorkerTable workers={shown} selected={selected.value} onSelect={choose} />
      )}
      {!asTable.value && isMany && (
        <WorkerTiles workers={shown} selected={selected.value} onSelect={choose} />
      )}
      {!asTable.value && !isMany && (
        <ul class="cards">
          {shown.map((worker) => (
            <li key={worker.id}>
              <WorkerCard worker={worker} />
            </li>
          ))}
        </ul>
      )}
      {chosen && (
        <div class="chosen">
          <WorkerCard worker={chosen} />
        </div>
      )}
    </section>
  );
}

const noneOf = (all: number) =>
  all === 0
    ? 'No worker has registered. Start one with kvcapsule serve worker.'
    : 'No worker matches the filter.';
