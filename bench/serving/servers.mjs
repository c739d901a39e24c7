// The servers that are compared, each started as its usual processes and held still while another's turn is on.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '@kvcapsule/testing/redis';
import { Cluster } from '../../e2e/dist/harness.js';
import { signalTree } from './process-tree.mjs';

export const THREADS = 2;
/** Requests that a server may have in its batch: as many as the largest load sends at once. */
const SLOTS = 16;
/** Compilers and first runs of peers, and reading weights, take minutes on two busy cores. */
const START_LIMIT_MS = 20 * 60_000;
const PROGRESS_MS = 30_000;
const LOG_CHARS = 4_000;
/** A server that stood still may have to renew what it holds elsewhere before it answers. */
const RESUME_LIMIT_MS = 60_000;

const healthy = async (url) => (await fetch(url).catch(() => undefined))?.status === 200;

async function untilHealthy(url, limitMs, alive = () => undefined) {
  const end = performance.now() + limitMs;
  while (!(await healthy(url))) {
    alive();
    if (performance.now() > end) throw new Error(`${url} is not healthy after ${limitMs / 1000} s`);
    await sleep(250);
  }
}

/** Starts a program that serves OpenAI's API; resolves when its `/health` does. */
async function startProgram({ name, version, command, args, port, env }) {
  const began = performance.now();
  const seconds = () => Math.round((performance.now() - began) / 1000);
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let log = '';
  const keep = (part) => (log = (log + part).slice(-LOG_CHARS));
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', keep);
  const pids = [child.pid];
  // a group of its own, which nobody ends when this process ends
  process.once('exit', () => child.pid !== undefined && signalTree(pids, 'SIGKILL'));
  const stop = async () => {
    const gone = child.exitCode ?? child.signalCode ?? once(child, 'exit');
    signalTree(pids, 'SIGKILL');
    await gone;
  };
  const lastLine = () => log.trimEnd().split('\n').at(-1)?.slice(0, 120) ?? '';
  const progress = setInterval(
    () => console.error(`${name}: starting for ${seconds()} s: ${lastLine()}`),
    PROGRESS_MS,
  );
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilHealthy(`${url}/health`, START_LIMIT_MS, () => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${name} ended: ${log}`);
    });
  } catch (error) {
    if (child.pid !== undefined) await stop();
    throw new Error(`${name} did not start: ${log}`, { cause: error });
  } finally {
    clearInterval(progress);
  }
  const holdStill = () => signalTree(pids, 'SIGSTOP');
  const resume = async () => {
    signalTree(pids, 'SIGCONT');
    await untilHealthy(`${url}/health`, RESUME_LIMIT_MS);
  };
  return { name, version, url, pids: () => pids, holdStill, resume, stop, startSeconds: seconds() };
}

/**
 * What keeps torch and oneDNN in vLLM from instruction sets that the processor has; vLLM's own kernels, its attention
 * among them, take them all the same.
 */
const VLLM_ISA_LIMITS = {
  avx2: { ONEDNN_MAX_CPU_ISA: 'AVX2', ATEN_CPU_CAPABILITY: 'avx2' },
  avx512: { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE_FP16', ATEN_CPU_CAPABILITY: 'avx512' },
  amx: {},
};

export const isaLimits = Object.keys(VLLM_ISA_LIMITS);

export async function startVllm({ venv, model, served, dtype, poolMib, maxCpuIsa, threads = THREADS }) {
  const port = await freePort();
  const version = execFileSync(join(venv, 'bin/python'), [
    '-c',
    'from importlib.metadata import version; print(version("vllm"))',
  ]);
  return startProgram({
    ...{ name: 'vllm', version: `${version.toString().trim()}, ${dtype}`, port },
    command: join(venv, 'bin/vllm'),
    args: [
      ...['serve', model, '--served-model-name', served, '--host', '127.0.0.1', '--port', String(port)],
      ...['--dtype', dtype, '--max-model-len', '4096', '--max-num-seqs', String(SLOTS)],
      // without it the start encodes as many of the largest pictures as fit one step
      ...['--limit-mm-per-prompt', '{"image":1}', '--skip-mm-profiling', '--enable-prompt-tokens-details'],
    ],
    env: {
      ...process.env,
      ...{ PATH: `${venv}/bin:${process.env.PATH}`, HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: String(threads) },
      ...{ VLLM_NO_USAGE_STATS: '1', DO_NOT_TRACK: '1', VLLM_CPU_OMP_THREADS_BIND: 'nobind' },
      // of one step: on a busy machine five minutes are not enough for the tiles of a picture
      VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS: '1200',
      VLLM_CPU_KVCACHE_SPACE: String(Math.max(1, Math.ceil(poolMib / 1024))),
      ...VLLM_ISA_LIMITS[maxCpuIsa],
    },
  });
}

/** `folder` holds model.gguf and mmproj.gguf; `contextTokens` is what each slot's cache holds. */
export async function startLlamaServer({ binary, folder, served, contextTokens }) {
  const port = await freePort();
  const version = execFileSync(binary, ['--version'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  return startProgram({
    ...{ name: 'llama.cpp', version: version.trim() || 'see the build', port },
    command: binary,
    args: [
      ...['-m', join(folder, 'model.gguf'), '--mmproj', join(folder, 'mmproj.gguf'), '--alias', served],
      ...['--host', '127.0.0.1', '--port', String(port), '-t', String(THREADS), '-tb', String(THREADS)],
      ...['--parallel', String(SLOTS), '-c', String(SLOTS * contextTokens), '--no-ui'],
    ],
    env: { ...process.env, OMP_NUM_THREADS: String(THREADS) },
  });
}

const pidOf = async (server) => Number(/process_id:(\d+)/.exec(await server.say('INFO server'))?.[1]);

/** Router, worker and Redis of a checkout that has been built; idle they take next to no CPU, so they are left running. */
export async function startOurs({ name, root, model, served, poolMib, workerArgs, maxCpuIsa }) {
  // the worker inherits it; a checkout that does not know it takes what the processor has
  if (maxCpuIsa !== undefined) process.env.KVCAPSULE_MAX_CPU_ISA = maxCpuIsa;
  const Built = root === undefined ? Cluster : (await import(resolve(root, 'e2e/dist/harness.js'))).Cluster;
  const began = performance.now();
  const cluster = await Built.start({
    ...{ model, startLimitMs: START_LIMIT_MS },
    workerArgs: ['--pool-mib', String(poolMib), '--threads', String(THREADS), ...workerArgs],
    routerArgs: ['--served-model-name', served],
  });
  const parts = [cluster.router, ...cluster.workers].map(({ process: part }) => part.pid);
  const store = cluster.redis?.pid ?? (await pidOf(cluster.store.servers[0]));
  return {
    ...{ name, version: undefined, url: cluster.url, pids: () => [...parts, store] },
    ...{ holdStill: () => undefined, resume: async () => undefined, stop: () => cluster.stop() },
    startSeconds: Math.round((performance.now() - began) / 1000),
  };
}
