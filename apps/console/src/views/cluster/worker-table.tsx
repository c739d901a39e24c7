import type { ClusterWorker } from '@kvcapsule/contracts/cluster';
import { bytes, percent, rate, times, whole } from '../../format.js';
import { VirtualRows } from '../../parts/virtual-rows.js';

interface Props {
  readonly workers: readonly ClusterWorker[];
  readonly selected: string;
  readonly onSelect: (id: string) => void;
}

const HEADS = ['Worker', 'State', 'Model', 'Run', 'Wait', 'Leased', 'Stored', 'Smaller', 'Tok/s'] as const;

export function WorkerTable({ workers, selected, onSelect }: Props) {
  return (
    <VirtualRows
      label="Workers"
      heads={HEADS}
      columns="minmax(9rem, 2fr) 6rem minmax(7rem, 1.4fr) 4rem 4rem 5rem 6rem 5rem 5rem"
      items={workers}
      keyOf={({ id }) => id}
      row={({ id, state, model, running, waiting, pages, leased_pages: leased, held, tokens_per_second }) => [
        <button
          key="id"
          class="link"
          type="button"
          aria-pressed={id === selected}
          onClick={() => {
            onSelect(id);
          }}
        >
          {id}
        </button>,
        <span key="state" class="state" data-state={state}>
          {state}
        </span>,
        model,
        whole(running),
        whole(waiting),
        percent(leased, pages),
        held ? bytes(held.stored_bytes) : '–',
        held ? times(held.raw_bytes, held.stored_bytes) : '–',
        rate(tokens_per_second),
      ]}
      numbersFrom={3}
    />
  );
}
