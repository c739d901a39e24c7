import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expositionFaults } from './exposition.js';
import { Cluster, picture, until } from './harness.js';

interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: object }[];
}

interface OtlpBatch {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { key: string; value: { stringValue?: string } }[] };
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

/** What has been sent to it as traces, each span with its service. */
const received: (OtlpSpan & { readonly service: string | undefined })[] = [];
const receiver = createServer((request, response) => {
  void text(request).then((body) => {
    const batch = JSON.parse(body) as OtlpBatch;
    for (const { resource, scopeSpans } of batch.resourceSpans) {
      const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue;
      for (const span of scopeSpans.flatMap(({ spans }) => spans)) received.push({ ...span, service });
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
});

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CLIENT = 'b7ad6b7169203331';
const SECRET = 'a-word-that-nobody-else-says';

let cluster: Cluster;

function chat(headers: Record<string, string>, content: unknown = SECRET): Promise<Response> {
  const messages = [{ role: 'user', content }];
  return fetch(`${cluster.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'emoji-vlm', messages, max_tokens: 5, ignore_eos: true }),
  });
}

beforeAll(async () => {
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const { port } = receiver.address() as AddressInfo;
  const set = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${String(port)}`,
    OTEL_TRACES_SAMPLER: 'parentbased_always_off',
    KVCAPSULE_METRICS_COMPAT: 'vllm',
  };
  Object.assign(process.env, set);
  cluster = await Cluster.start({ workers: 2, routerArgs: ['--host', '0.0.0.0', '--no-auth'] });
  for (const name of Object.keys(set)) Reflect.deleteProperty(process.env, name);
}, 180_000);
afterAll(async () => {
  await cluster.stop();
  receiver.close();
});

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
    const metrics = await (await fetch(`http://${target}${String(labels['__metrics_path__'])}`)).text();
    expect(metrics).toContain(`\n${String(labels['job']).replace('-', '_')}_event_loop_lag_seconds_count `);
    expect(metrics).toContain('\n# TYPE vllm:');
  }
});

describe('a trace', () => {
  it('goes on from the client’s over the router to the worker, and holds nothing that a user wrote', async () => {
    const shown = { type: 'image_url', image_url: { url: picture('a') } };
    const content = [{ type: 'text', text: SECRET }, shown];
    const traceparent = `00-${TRACE}-${CLIENT}-01`;
    const answer = await chat({ traceparent, 'x-request-id': 'traced-1' }, content);
    expect(answer.status).toBe(200);
    await until(
      () => received.some(({ name, service }) => name === 'decode' && service === 'kvcapsule-worker'),
      30_000,
    );
    await until(() => received.some(({ parentSpanId }) => parentSpanId === CLIENT), 30_000);
    expect(new Set(received.map(({ traceId }) => traceId))).toEqual(new Set([TRACE]));
    const find = (service: string, name: string) =>
      received.find((span) => span.service === `kvcapsule-${service}` && span.name === name);
    const root = find('router', 'POST /v1/chat/completions');
    const sent = find('router', 'generate');
    const taken = find('worker', 'generate');
    expect(root?.parentSpanId).toBe(CLIENT);
    expect([sent?.parentSpanId, taken?.parentSpanId]).toEqual([root?.spanId, sent?.spanId]);
    for (const name of ['prepare', 'admission', 'place and reserve'])
      expect([name, find('router', name)?.parentSpanId]).toEqual([name, root?.spanId]);
    for (const name of ['queue', 'prefill', 'decode', 'picture decode', 'picture encode']) {
      const part = find('worker', name);
      expect([name, part?.parentSpanId]).toEqual([name, taken?.spanId]);
      expect(BigInt(part?.endTimeUnixNano ?? 0) >= BigInt(part?.startTimeUnixNano ?? 1)).toBe(true);
    }
    expect(JSON.stringify(received)).not.toContain(SECRET);
    const log = readFileSync(cluster.router.logFile, 'utf8').split('\n');
    const line = log.find((entry) => entry.includes('"requestId":"traced-1"') && entry.includes('completed'));
    expect(JSON.parse(line ?? '{}')).toMatchObject({ traceId: TRACE, status: 200 });
  }, 180_000);

  it('is not made of a request whose client records none', async () => {
    const before = received.length;
    expect((await chat({})).status).toBe(200);
    expect((await chat({ traceparent: `00-${TRACE}-${CLIENT}-00` })).status).toBe(200);
    expect((await chat({ traceparent: 'nonsense' })).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    expect(received.length).toBe(before);
  }, 180_000);
});

it('tells metrics that promtool finds nothing wrong with, vLLM’s among them', async () => {
  expect((await chat({ traceparent: `00-${TRACE}-${CLIENT}-01` })).status).toBe(200);
  for (const url of [`${cluster.url}/metrics`, String(cluster.workers[0]?.ready['metrics'])])
    expect([url, await expositionFaults(url)]).toEqual([url, []]);
}, 180_000);
