import type { ClusterRequest } from '@kvcapsule/contracts/cluster';
import { hrefOf } from '../../route.js';
import { whole } from '../../format.js';

const LANES = [
  { name: 'Preparing', states: ['preparing'] },
  { name: 'Queued', states: ['queued'] },
  { name: 'Prefill', states: ['prefill'] },
  { name: 'Decoding', states: ['decoding'] },
  { name: 'Done', states: ['finished', 'failed', 'aborted'] },
] as const satisfies readonly { name: string; states: readonly ClusterRequest['state'][] }[];

const MOST_SHOWN = 24;

interface Props {
  readonly requests: readonly ClusterRequest[];
  readonly queued: number;
}

/** Requests of this router on their way, from left to right. */
export function Flow({ requests, queued }: Props) {
  return (
    <section class="panel flow" aria-labelledby="flow-title">
      <h2 id="flow-title">Requests</h2>
      <ol class="lanes">
        {LANES.map(({ name, states }) => (
          <Lane
            key={name}
            name={name}
            requests={requests.filter(({ state }) => (states as readonly string[]).includes(state))}
            atLeast={name === 'Queued' ? queued : 0}
          />
        ))}
      </ol>
    </section>
  );
}

interface LaneProps {
  readonly name: string;
  readonly requests: readonly ClusterRequest[];
  readonly atLeast: number;
}

function Lane({ name, requests, atLeast }: LaneProps) {
  const shown = requests.slice(0, MOST_SHOWN);
  const left = Math.max(requests.length, atLeast) - shown.length;
  return (
    <li class="lane">
      <h3>
        {name} <span class="num">{whole(Math.max(requests.length, atLeast))}</span>
      </h3>
      <ul>
        {shown.map((request) => (
          <li key={request.serial}>
            <a class="chip num" data-state={request.state} href={hrefOf('requests', request.id)}>
              <span class="unseen">
                {request.state} request {request.id}
              </span>
              <span aria-hidden="true">{request.pictures > 0 ? '▣' : '≡'}</span> {shortOf(request)}
            </a>
          </li>
        ))}
        {left > 0 && <li class="hint num">+{whole(left)}</li>}
      </ul>
    </li>
  );
}

const shortOf = ({ completion_tokens: tokens, serial }: ClusterRequest) =>
  tokens > 0 ? `${whole(tokens)} tok` : `#${serial}`;
