import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

import { Alertmanager, Prometheus, rulesAtOnce, withoutWaits } from '@kvcapsule/testing/prometheus';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { alertmanagerConfig } from '../../config/alertmanager.js';
import { prometheusConfig } from '../../config/prometheus.js';
import { files } from '../../files.js';

interface Notice {
  readonly path: string;
  readonly status: string;
  readonly alerts: readonly {
    readonly status: string;
    readonly labels: Record<string, string>;
    readonly annotations: Record<string, string>;
  }[];
}

const WAIT = { timeout: 30_000, interval: 100 };

/** What a router would say of its workers. */
let workers = 0;
const notices: Notice[] = [];

let server: Server;
let alertmanager: Alertmanager;
let prometheus: Prometheus;

async function listen(): Promise<string> {
  server = createServer((request, response) => {
    const { url = '' } = request;
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (url === '/metrics/targets') {
        response.setHeader('content-type', 'application/json');
        response.end(
          JSON.stringify([{ targets: [request.headers.host], labels: { job: 'kvcapsule-router' } }]),
        );
      } else if (url === '/metrics') response.end(`kvcapsule_router_workers ${String(workers)}\n`);
      else {
        notices.push({
          path: url,
          ...(JSON.parse(Buffer.concat(chunks).toString()) as Omit<Notice, 'path'>),
        });
        response.end();
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
}

beforeAll(async () => {
  const address = await listen();
  const webhooks = { page: `http://${address}/page`, ticket: `http://${address}/ticket` };
  alertmanager = await Alertmanager.start(withoutWaits(alertmanagerConfig(webhooks)));
  prometheus = await Prometheus.start(
    withoutWaits(prometheusConfig(address, alertmanager.address)),
    rulesAtOnce(files()),
  );
});
afterAll(async () => {
  await (prometheus as Prometheus | undefined)?.stop();
  await (alertmanager as Alertmanager | undefined)?.stop();
  server.close();
});

describe('a fault', () => {
  const aboutWorkers = (status: string): Notice | undefined =>
    notices.find(
      ({ path, alerts }) =>
        path === '/page' &&
        alerts.some((alert) => alert.status === status && alert.labels['alertname'] === 'KVCapsuleNoWorker'),
    );

  it('goes from a router’s metrics by way of discovery, rules and routes to whoever is on call', async () => {
    await vi.waitUntil(() => aboutWorkers('firing'), WAIT);
    const [alert] = aboutWorkers('firing')?.alerts ?? [];
    expect(alert?.labels).toEqual({ alertname: 'KVCapsuleNoWorker', severity: 'critical' });
    expect(alert?.annotations).toEqual({
      summary: 'No worker is ready',
      description: 'Routers see no worker whose heartbeat is fresh: every request is refused with no_worker.',
      runbook_url: expect.stringMatching(/\/docs\/runbook\/no-worker\.md$/) as string,
    });
  });

  it('is called off when it is over', async () => {
    workers = 2;
    await vi.waitUntil(() => aboutWorkers('resolved'), WAIT);
    expect(notices.filter(({ path }) => path === '/ticket')).toEqual([]);
  });
});
