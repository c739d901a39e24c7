import type { ClusterPoint } from '@kvcapsule/contracts/cluster';
import { bytes, rate, seconds, whole } from '../../format.js';
import { TimePlot } from '../../parts/time-plot.js';

export function History({ history }: { readonly history: readonly ClusterPoint[] }) {
  const at = history.map((point) => point.at);
  const of = (pick: (point: ClusterPoint) => number | null) => history.map(pick);
  return (
    <section class="plots" aria-label="The last five minutes">
      <TimePlot
        title="Throughput, tokens a second"
        format={rate}
        at={at}
        series={[
          {
            name: 'All workers',
            color: 'series-1',
            filled: true,
            values: of((point) => point.tokens_per_second),
          },
        ]}
      />
      <TimePlot
        title="Latency of this router"
        format={seconds}
        at={at}
        series={[
          {
            name: 'First token p50',
            color: 'series-1',
            values: of((point) => point.time_to_first_token.p50),
          },
          {
            name: 'p95',
            color: 'series-1',
            dashed: true,
            values: of((point) => point.time_to_first_token.p95),
          },
          { name: 'Next token p50', color: 'series-2', values: of((point) => point.inter_token_latency.p50) },
          {
            name: 'p95',
            color: 'series-2',
            dashed: true,
            values: of((point) => point.inter_token_latency.p95),
          },
        ]}
      />
      <TimePlot
        title="KV memory"
        format={bytes}
        isBinary
        at={at}
        series={[
          { name: 'As raw', color: 'series-2', values: of((point) => point.raw_bytes) },
          { name: 'Stored', color: 'series-1', filled: true, values: of((point) => point.stored_bytes) },
        ]}
      />
      <TimePlot
        title="Requests"
        format={whole}
        at={at}
        series={[
          { name: 'Running', color: 'series-1', filled: true, values: of((point) => point.running) },
          { name: 'Waiting', color: 'series-2', values: of((point) => point.waiting + point.queued) },
        ]}
      />
    </section>
  );
}
