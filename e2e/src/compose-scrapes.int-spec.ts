import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { files } from '@kvcapsule/observability';
import { Prometheus, rulesAtOnce, withoutWaits } from '@kvcapsule/testing/prometheus';
import { freePort, startServer, type Store } from '@kvcapsule/testing/redis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { composeProgram } from './containers.js';
import { Children, MODEL_DIR, ROOT, startPart, until } from './harness.js';

const run = promisify(execFile);
const FOLDER = join(ROOT, 'deploy/compose');
const SECRETS = { KVCAPSULE_API_KEYS: 'a-key-of-tests', REDIS_PASSWORD: 'of-the-tests' };
type Variables = Record<string, string>;

const children = new Children();
const logDir = mkdtempSync(join(tmpdir(), 'kvc-scrapes-'));
let store: Store;
let prometheus: Prometheus;

/** What `ENV` of the Dockerfile gives a part's image. */
function imageEnv(target: string): Variables {
  const dockerfile = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
  const stage = dockerfile.split(/^FROM /m).find((text) => text.startsWith(`base AS ${target}\n`)) ?? '';
  return Object.fromEntries(
    [...stage.matchAll(/(KVCAPSULE_\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!]),
  );
}

/** What compose gives each service, as docker-compose understands the file. */
async function composeEnv(): Promise<Record<string, { environment?: Variables }>> {
  const program = await composeProgram();
  const args = ['-f', join(FOLDER, 'compose.yaml'), 'config'];
  const env = { PATH: process.env['PATH'] ?? '', ...SECRETS };
  const { stdout } = await run(program, args, { env, cwd: FOLDER });
  return (parse(stdout) as { services: Record<string, { environment?: Variables }> }).services;
}

/** Names that mean something among the containers alone, and ports that are their own there, as they are here. */
function here(env: Variables, names: ReadonlyMap<string, string>): Variables {
  const rename = (value: string) => [...names].reduce((text, [from, to]) => text.replaceAll(from, to), value);
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, rename(value)]));
}

beforeAll(async () => {
  const services = await composeEnv();
  store = await startServer({ password: SECRETS.REDIS_PASSWORD });
  const passwordFile = join(logDir, 'redis-password');
  writeFileSync(passwordFile, SECRETS.REDIS_PASSWORD);
  const storeNames: [string, string][] = [
    ['redis:6379', new URL(store.url).host],
    ['/tmp/redis-password', passwordFile],
  ];
  for (const name of ['worker-0', 'worker-1']) {
    const [port, metricsPort] = [String(await freePort()), String(await freePort())];
    const names = new Map([...storeNames, [`${name}:`, '127.0.0.1:'], ['7001', port], ['7002', metricsPort]]);
    const env = here({ ...imageEnv('worker'), ...services[name]?.environment }, names);
    await startPart('worker', ['--model', MODEL_DIR], { logDir, children, env });
  }
  const port = String(await freePort());
  const names = new Map([...storeNames, ['8000', port]]);
  const env = here({ ...imageEnv('router'), ...services['router']?.environment }, names);
  await startPart('router', ['--model', MODEL_DIR], { logDir, children, env });
  const mounted = readFileSync(join(FOLDER, 'prometheus.yml'), 'utf8');
  const config = parse(mounted.replaceAll('router:8000', `127.0.0.1:${port}`)) as object;
  prometheus = await Prometheus.start(withoutWaits(config), rulesAtOnce(files()));
}, 240_000);
afterAll(async () => {
  await prometheus.stop();
  await children.stop();
  await store.stop();
  rmSync(logDir, { recursive: true, force: true });
}, 60_000);

/** Labels of what Prometheus has of a metric. */
async function seriesOf(metric: string): Promise<Readonly<Record<string, string>>[]> {
  const nowSeconds = Date.now() / 1000;
  const range = { startSeconds: nowSeconds - 60, endSeconds: nowSeconds, stepSeconds: 1 };
  return (await prometheus.query(metric, range)).map(({ labels }) => labels);
}

it('compose’s Prometheus finds and scrapes router and workers by the router’s list, without a key', async () => {
  await until(async () => (await seriesOf('up == 1')).length === 3, 60_000);
  expect(await prometheus.brokenTargets()).toEqual([]);
  const found = (await seriesOf('up')).map(({ job, id, model }) => ({ job, id, model }));
  expect(found).toEqual(
    expect.arrayContaining([
      { job: 'kvcapsule-worker', id: 'worker-0', model: 'emoji-vlm' },
      { job: 'kvcapsule-worker', id: 'worker-1', model: 'emoji-vlm' },
      expect.objectContaining({ job: 'kvcapsule-router' }),
    ]),
  );
});

it('its rules and dashboards have what they read, under the labels that they read it by', async () => {
  const jobsOf = async (metric: string) => (await seriesOf(metric)).map(({ job }) => job);
  expect(new Set(await jobsOf('kvcapsule_router_requests_running'))).toEqual(new Set(['kvcapsule-router']));
  expect(await jobsOf('kvcapsule_worker_requests_running')).toEqual(['kvcapsule-worker', 'kvcapsule-worker']);
});
