// Routers of ours that are measured, and what stands behind them and behind others: backends that only pretend to compute.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalTree } from '../serving/process-tree.mjs';
import { chat, line, MODEL, post } from './load.mjs';

const READY_MS = 60_000;
const BACKENDS = 2;

export const stop = (pids) => signalTree(pids, 'SIGKILL');

/** Until an answer comes whole; `isOver` says that none can come any more. */
export async function untilAnswered(name, url, { headers, model = MODEL, limitMs = READY_MS, isOver } = {}) {
  const endMs = performance.now() + limitMs;
  for (;;) {
    try {
      await post(url, new http.Agent(), chat(line(), 2, model), headers);
      return;
    } catch (error) {
      if (isOver?.()) throw new Error(`${name} ended`, { cause: error });
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
  await untilAnswered(name, url, { headers });
  const end = async () => {
    stop([router.pid, worker.pid]);
    await redis.kill();
  };
  return { name, root, url, pid: router.pid, workerPid: worker.pid, stop: end };
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
