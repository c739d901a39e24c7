import { once } from 'node:events';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';

import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { startTracing, type Tracing, tracingSettings } from './index.js';

const QUEUE = 100;
const SPANS = 20 * QUEUE;

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly err: { readonly code: string };
}

let lines: Line[];
let tracing: Tracing | undefined;
let servers: (Server | HttpServer)[];
let sockets: Socket[];
beforeEach(() => {
  [lines, servers, sockets] = [[], [], []];
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

async function portOf(server: Server | HttpServer): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function start(port: number, more: NodeJS.ProcessEnv = {}): Promise<Tracing> {
  const settings = tracingSettings({
    ...{ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${String(port)}` },
    ...{ OTEL_BSP_MAX_QUEUE_SIZE: String(QUEUE), OTEL_BSP_SCHEDULE_DELAY: '5' },
    ...more,
  });
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as Line) });
  tracing = await startTracing({ service: 'test', instance: 'one' }, settings, logger);
  if (!tracing) throw new Error('off');
  return tracing;
}

/** Takes connections and what comes on them, and never says a word. */
const hanging = () =>
  createServer((socket) => {
    sockets.push(socket.resume());
    socket.on('error', () => undefined);
  });

function record(of: Tracing, spans: number): void {
  for (let i = 0; i < spans; i += 1) of.begin('POST', undefined)?.end();
}

describe('a receiver of spans that hangs', () => {
  it('holds nobody up: what comes on top of the queue is lost, and the end waits for two seconds at most', async () => {
    const patient = { OTEL_EXPORTER_OTLP_TIMEOUT: '300000', OTEL_BSP_EXPORT_TIMEOUT: '300000' };
    const of = await start(await portOf(hanging()), patient);
    record(of, SPANS);
    await expect.poll(() => sockets.length).toBeGreaterThan(0);
    record(of, SPANS);
    const beganMs = performance.now();
    await of.close();
    // the exporter by itself would wait for minutes
    expect(performance.now() - beganMs).toBeLessThan(30_000);
  });

  it('gets what the queue held once it answers again, and no more', async () => {
    let received = 0;
    let goOn: () => void = () => undefined;
    const isAwake = new Promise<void>((resolve) => (goOn = resolve));
    const server = createHttpServer((request, response) => {
      void text(request).then(async (body) => {
        await isAwake;
        received += body.split('"spanId"').length - 1;
        response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      });
    });
    const of = await start(await portOf(server));
    record(of, SPANS);
    await new Promise((resolve) => setTimeout(resolve, 100));
    record(of, SPANS);
    goOn();
    await of.close();
    // one batch was on its way
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThanOrEqual(2 * QUEUE);
  });

  it('is told of in the log, once for many', async () => {
    const of = await start(await portOf(hanging()), { OTEL_EXPORTER_OTLP_TIMEOUT: '20' });
    for (let round = 0; round < 5; round += 1) {
      record(of, QUEUE);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await expect.poll(() => lines.length).toBe(1);
    expect(lines[0]).toMatchObject({ level: 40, msg: 'spans are lost: their receiver takes none' });
    await of.close();
  });
});

describe('a receiver of spans', () => {
  it('that is away costs spans, and the log says so', async () => {
    const server = hanging();
    const port = await portOf(server);
    server.close();
    await once(server, 'close');
    const of = await start(port, { OTEL_EXPORTER_OTLP_TIMEOUT: '200' });
    record(of, SPANS);
    await expect
      .poll(() => lines, { timeout: 50_000 })
      .toMatchObject([{ level: 40, err: { code: 'ECONNREFUSED' } }]);
    await of.close();
  });

  it('that refuses them is told of by its status, not by its words', async () => {
    const server = createHttpServer((request, response) => {
      request.resume();
      response.writeHead(403).end('the key sk-secret is wrong');
    });
    const of = await start(await portOf(server));
    record(of, 1);
    await expect.poll(() => lines, { timeout: 50_000 }).toMatchObject([{ err: { code: '403' } }]);
    expect(JSON.stringify(lines)).not.toContain('secret');
    await of.close();
  });
});
