import { hostname } from 'node:os';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cluster } from './harness.js';

interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({ workers: 2, routerArgs: ['--host', '0.0.0.0', '--no-auth'] });
}, 120_000);
afterAll(() => cluster.stop());

it('tells Prometheus every router and worker of the cluster, and each of them can be scraped', async () => {
  const groups = (await (await fetch(`${cluster.url}/metrics/targets`)).json()) as TargetGroup[];
  const { port } = new URL(cluster.url);
  const own = `${hostname()}:${port}`;
  expect(groups.map(({ labels }) => [labels['job'], labels['id'], labels['model']])).toEqual([
    ['kvcapsule-router', own, undefined],
    ['kvcapsule-worker', 'worker-0', 'emoji-vlm'],
    ['kvcapsule-worker', 'worker-1', 'emoji-vlm'],
  ]);
  for (const { targets, labels } of groups) {
    // the name of this machine may not lead anywhere here
    const target = targets[0] === own ? `127.0.0.1:${port}` : String(targets[0]);
    const text = await (await fetch(`http://${target}${String(labels['__metrics_path__'])}`)).text();
    expect(text).toContain(`\n${String(labels['job']).replace('-', '_')}_event_loop_lag_seconds_count `);
  }
});
