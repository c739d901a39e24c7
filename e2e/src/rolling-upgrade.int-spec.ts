import { once } from 'node:events';
import { appendFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask, Cluster, MODEL_DIR, type Part, until } from './harness.js';
import { Traffic } from './traffic.js';

const dir = mkdtempSync(join(tmpdir(), 'kvc-revisions-'));
let cluster: Cluster;

/** The demo model with a remark in its template: another processor revision that renders the same prompts. */
function revision(name: string): string {
  const folder = join(dir, name, basename(MODEL_DIR));
  cpSync(MODEL_DIR, folder, { recursive: true });
  appendFileSync(join(folder, 'chat_template.jinja'), `{#- ${name} #}`);
  return folder;
}

const [first, second, stranger] = ['first', 'second', 'stranger'].map(revision) as [string, string, string];

beforeAll(async () => {
  const modelsFile = join(dir, 'models.json');
  const model = { name: 'emoji', aliases: ['vlm'], default: true, folders: [second, first] };
  writeFileSync(modelsFile, JSON.stringify({ models: [model] }));
  cluster = await Cluster.start({ workers: 2, model: first, modelsFile });
}, 120_000);
afterAll(async () => {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function drain({ process }: Part): Promise<void> {
  const exited = once(process, 'exit');
  process.kill('SIGTERM');
  await exited;
}

/** Asks by default and alias in turns. */
function body(turn: number): object {
  const question = { messages: [ask(`Number ${String(turn)}`)], max_tokens: 8 };
  return turn % 2 === 0 ? question : { ...question, model: 'vlm' };
}

it('moves from one revision of a model to the next under traffic, worker by worker, and no request fails', async () => {
  const traffic = new Traffic({ urls: () => [cluster.url], body });
  await traffic.more(8);
  cluster.workers.push(await cluster.startWorker(2, second));
  await traffic.more(8);
  await drain(cluster.workers[0]!);
  cluster.workers.push(await cluster.startWorker(3, second));
  await drain(cluster.workers[1]!);
  const before = traffic.total;
  await traffic.more(8);
  await traffic.stop();
  expect(traffic.failures).toEqual([]);
  expect(before).toBeGreaterThan(16);
  const served = ['worker-0', 'worker-2'].map((worker) => (traffic.answered.get(worker) ?? 0) > 0);
  expect(served).toEqual([true, true]);
}, 240_000);

it('shows a worker of neither revision, explains it, and does not use it', async () => {
  cluster.workers.push(await cluster.startWorker(4, stranger));
  const ready = async () => (await (await fetch(`${cluster.url}/health/ready`)).json()) as object;
  const reason = '1 worker has another tokenizer or template revision than this router for model emoji';
  await until(async () => JSON.stringify(await ready()).includes(reason), 60_000);
  const response = await fetch(`${cluster.url}/v1/placement/explain`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }] }),
  });
  const { rejected, candidates } = (await response.json()) as Record<string, { worker: string }[]>;
  const strange = { worker: 'worker-4', filter: 'processor', may_pass: false };
  expect(rejected).toContainEqual(expect.objectContaining(strange));
  expect(candidates?.map(({ worker }) => worker).sort()).toEqual(['worker-2', 'worker-3']);
}, 120_000);
