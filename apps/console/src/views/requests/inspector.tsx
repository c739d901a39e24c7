import type { ClusterRequest, ClusterRequestDetail } from '@kvcapsule/contracts/cluster';
import { useEffect, useState } from 'preact/hooks';
import { type ApiError, getJson } from '../../api/client.js';
import { cluster } from '../../api/cluster-stream.js';
import { bytes, clock, percent, seconds, times, whole } from '../../format.js';
import { hrefOf } from '../../route.js';
import { itemOf, requestOf } from './item.js';
import { reasonText } from './reasons.js';

type Placed = ClusterRequestDetail['placements'][number];

/** One request: where its time went, what it held, and why its workers had it. */
export function Inspector({ item }: { readonly item: string }) {
  const { id, serial } = requestOf(item);
  const [detail, setDetail] = useState<ClusterRequestDetail | undefined>(undefined);
  const [fault, setFault] = useState('');
  const isIt = (each: ClusterRequest) => each.id === id && (serial === undefined || each.serial === serial);
  const live = cluster.value?.requests.find(isIt);
  useEffect(() => {
    const gone = new AbortController();
    const which = serial === undefined ? '' : `?serial=${serial}`;
    getJson<ClusterRequestDetail>(`v1/cluster/requests/${encodeURIComponent(id)}${which}`, gone.signal).then(
      (told) => {
        setDetail(told);
        setFault('');
      },
      (error: unknown) => {
        if (!gone.signal.aborted) setFault((error as ApiError).message);
      },
    );
    return () => {
      gone.abort();
    };
  }, [id, serial, live?.state, live?.worker]);
  const told = detail && isIt(detail.request) ? detail : undefined;
  const request = live ?? told?.request;
  if (!request) return <p class="panel empty-line">{fault || 'Looking for the request.'}</p>;
  return (
    <section class="panel inspector" aria-labelledby="inspector-title">
      <header>
        <h2 id="inspector-title">{request.id}</h2>
        <span class="state" data-state={request.state}>
          {request.state}
        </span>
      </header>
      <p class="hint">
        {request.model} · tenant {request.tenant} · began {clock(request.started_at)}
        {request.error !== null && ` · ${request.error}`}
      </p>
      <Timeline request={request} placements={told?.placements ?? []} />
      <Held request={request} />
      <h3>Why this worker</h3>
      {told?.placements.length ? (
        <ol class="placements">
          {told.placements.map((placed) => (
            <Placement key={placed.at} placed={placed} />
          ))}
        </ol>
      ) : (
        <p class="hint">No worker has been found for it yet.</p>
      )}
      {told && told.others.length > 0 && <Others id={id} others={told.others} />}
    </section>
  );
}

/** Clients choose ids, and may have chosen the same. */
function Others({ id, others }: { id: string; others: ClusterRequestDetail['others'] }) {
  return (
    <>
      <h3>Others with this id</h3>
      <ul class="others">
        {others.map(({ serial, tenant, state, started_at: began }) => (
          <li key={serial}>
            <a class="link" href={hrefOf('requests', itemOf({ id, serial }))}>
              {clock(began)}
            </a>{' '}
            {state}, tenant {tenant}
          </li>
        ))}
      </ul>
    </>
  );
}

interface TimelineProps {
  readonly request: ClusterRequest;
  readonly placements: readonly Placed[];
}

/** Waiting, prefill and decoding on one line of time. */
function Timeline({ request, placements }: TimelineProps) {
  const { started_at: began, first_token_at: first, ended_at: ended } = request;
  const placed = placements[0]?.at;
  const end = ended ?? cluster.value?.at ?? began;
  const parts = [
    { name: 'To a worker', from: began, to: placed ?? end, kind: 'wait' },
    { name: 'Prefill', from: placed, to: first ?? end, kind: 'prefill' },
    { name: 'Decoding', from: first, to: end, kind: 'decode' },
  ].flatMap(({ from, to, ...part }) =>
    from === undefined || from === null ? [] : [{ ...part, took: Math.max(0, to - from) }],
  );
  return (
    <div class="timeline" role="group" aria-label="Times">
      <div class="timeline-bar" aria-hidden="true">
        {parts.map(({ kind, took }) => (
          <span key={kind} class={`span-${kind}`} style={{ flexGrow: took + 1e-4 }} />
        ))}
      </div>
      <dl class="facts num">
        {parts.map(({ name, took, kind }) => (
          <div key={kind}>
            <dt>
              <span class={`key span-${kind}`} aria-hidden="true" />
              {name}
            </dt>
            <dd>{seconds(took)}</dd>
          </div>
        ))}
        <div>
          <dt>All</dt>
          <dd>{seconds(end - began)}</dd>
        </div>
      </dl>
    </div>
  );
}

function Held({ request }: { readonly request: ClusterRequest }) {
  const { kv, prompt_tokens: prompt, cached_tokens: cached, completion_tokens: answer, pictures } = request;
  const facts = [
    ['Prompt', prompt === null ? '–' : `${whole(prompt)} tok`],
    ['Cached', cached === null ? '–' : whole(cached)],
    ['Answer', `${whole(answer)} tok`],
    ['Pictures', whole(pictures)],
    ['Codec', kv?.codec ?? request.codec ?? '–'],
    ['KV stored', kv ? bytes(kv.bytes) : '–'],
    ['KV raw', kv ? bytes(kv.raw_bytes) : '–'],
    ['Smaller', kv ? times(kv.raw_bytes, kv.bytes) : '–'],
  ] as const;
  return (
    <dl class="facts num" aria-label="What it held">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Who had it, in words, and the costs by which that was decided. */
function Placement({ placed }: { readonly placed: Placed }) {
  const {
    worker,
    reason,
    held_tokens: held,
    prompt_tokens: prompt,
    pages,
    cost,
    costs,
    codec,
    breaker,
  } = placed;
  const most = Math.max(1, ...Object.values(costs).map(Math.abs));
  return (
    <li>
      <p>
        <b>{worker}</b>: {reasonText(reason)}
        {breaker !== 'closed' && ` Its breaker was ${breaker}.`}
      </p>
      <p class="hint num">
        {clock(placed.at)} · {whole(pages)} pages as {codec} · holds {whole(held)} of {whole(prompt)} prompt
        tokens ({percent(held, prompt)})
      </p>
      <dl class="costs num" aria-label="Costs in tokens of prefill">
        {Object.entries(costs).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <span class="track">
                <span class="fill fill-accent" style={{ width: `${(100 * Math.abs(value)) / most}%` }} />
              </span>
              <b>{whole(value)}</b>
            </dd>
          </div>
        ))}
        <div class="sum">
          <dt>cost</dt>
          <dd>
            <span />
            <b>{whole(cost)}</b>
          </dd>
        </div>
      </dl>
    </li>
  );
}
