import type { ClusterRequest } from '@kvcapsule/contracts/cluster';
import { useSignal } from '@preact/signals';
import { cluster, connection } from '../../api/cluster-stream.js';
import { clock, plural, seconds, whole } from '../../format.js';
import { VirtualRows } from '../../parts/virtual-rows.js';
import { hrefOf, route } from '../../route.js';
import { Inspector } from './inspector.js';
import { itemOf } from './item.js';

const HEADS = ['Request', 'State', 'Model', 'Worker', 'Began', 'Prompt', 'Answer', 'TTFT', 'Took'] as const;

/** This router's requests, in flight and ended lately, and one of them in full. */
export function RequestsView() {
  const filter = useSignal('');
  const wanted = filter.value.toLowerCase();
  const requests = (cluster.value?.requests ?? []).filter((each) => textOf(each).includes(wanted));
  const { item } = route.value;
  return (
    <div class="requests" data-stale={connection.value !== 'live'}>
      <section class="panel" aria-labelledby="requests-title">
        <div class="map-head">
          <h1 id="requests-title">{plural(requests.length, 'request')}</h1>
          <input
            class="filter"
            type="search"
            placeholder="Filter by id, state, model, worker, tenant"
            aria-label="Filter requests"
            value={filter}
            onInput={({ currentTarget }) => {
              filter.value = currentTarget.value;
            }}
          />
        </div>
        {requests.length === 0 ? (
          <p class="empty-line">
            Nothing yet. Requests show here as soon as they come, in flight and for a while after.
          </p>
        ) : (
          <VirtualRows
            label="Requests"
            heads={HEADS}
            columns="minmax(7rem, 2fr) 5.4rem minmax(5rem, 1fr) minmax(5rem, 1fr) 4.2rem 3.2rem 3.2rem 4rem 4rem"
            items={requests}
            keyOf={({ serial }) => serial}
            row={rowOf}
            numbersFrom={4}
          />
        )}
      </section>
      {item === '' ? (
        <div class="empty">
          <h2>Inspector</h2>
          <p>Choose a request to see its times, what it held, and why its worker had it.</p>
        </div>
      ) : (
        <Inspector item={item} />
      )}
    </div>
  );
}

const textOf = ({ id, state, model, worker, tenant }: ClusterRequest) =>
  `${id} ${state} ${model} ${worker ?? ''} ${tenant}`.toLowerCase();

const rowOf = (request: ClusterRequest) => [
  <a
    key="id"
    class="link"
    href={hrefOf('requests', itemOf(request))}
    aria-current={route.value.item === itemOf(request) ? 'true' : undefined}
  >
    {request.id}
  </a>,
  <span key="state" class="state" data-state={request.state}>
    {request.state}
  </span>,
  request.model,
  request.worker ?? '–',
  clock(request.started_at),
  request.prompt_tokens === null ? '–' : whole(request.prompt_tokens),
  whole(request.completion_tokens),
  request.first_token_at === null ? '–' : seconds(request.first_token_at - request.started_at),
  request.ended_at === null ? '–' : seconds(request.ended_at - request.started_at),
];
