import { cluster, connection } from '../../api/cluster-stream.js';
import { Flow } from './flow.js';
import { Headline } from './headline.js';
import { History } from './history.js';
import { WorkerMap } from './worker-map.js';

export function ClusterView() {
  const known = cluster.value;
  if (!known) return <Waiting />;
  return (
    <div class="cluster" data-stale={connection.value !== 'live'}>
      <h1 class="unseen">Cluster</h1>
      <Headline totals={known.totals} />
      <WorkerMap workers={known.workers} />
      <Flow requests={known.requests} queued={known.totals.queued} />
      <History history={known.history} />
    </div>
  );
}

function Waiting() {
  return (
    <div class="empty">
      <h1>Cluster</h1>
      <p>Waiting for the first word of the router.</p>
    </div>
  );
}
