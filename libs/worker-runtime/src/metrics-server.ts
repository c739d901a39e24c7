import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Serving } from '@kvcapsule/serving';

import { CONTENT_TYPES, exposeTogether, type Format, formatOf } from '@kvcapsule/platform/telemetry';
import type { WorkerTelemetry } from './telemetry/worker-telemetry.js';

/** `/metrics` for Prometheus and `/health` for a supervisor: 200 while ready, 503 otherwise. */
export async function startMetricsServer(
  serving: Serving,
  telemetry: WorkerTelemetry,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    // Node sends no body to HEAD, by which some load balancers look
    if (request.method !== 'GET' && request.method !== 'HEAD')
      send(response.setHeader('allow', 'GET, HEAD'), 405, 'text/plain', 'GET and HEAD only\n');
    else if (path === '/metrics')
      void sendMetrics(serving, telemetry, formatOf(request.headers.accept), response);
    else if (path === '/health') sendHealth(serving, response);
    else send(response, 404, 'text/plain', '/metrics and /health\n');
  });
  await listen(server, host, port);
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}

async function sendMetrics(
  serving: Serving,
  telemetry: WorkerTelemetry,
  format: Format,
  response: ServerResponse,
): Promise<void> {
  telemetry.updateGauges(serving);
  const metrics = await telemetry.metrics.registry.getMetricsAsJSON();
  send(response, 200, CONTENT_TYPES[format], await exposeTogether([metrics], format));
}

function sendHealth(serving: Serving, response: ServerResponse): void {
  const { state, running, waiting } = serving;
  const { freePages, capacityPages } = serving.scheduler.pool;
  const body = JSON.stringify({ state, running, waiting, freePages, capacityPages });
  send(response, state === 'ready' ? 200 : 503, 'application/json', body);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}
