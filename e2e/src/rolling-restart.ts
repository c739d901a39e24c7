import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServer } from '@kvcapsule/testing/redis';
import { type Contained, ContainedParts, type Images } from './containers.js';
import { ask, events, picture, ROOT, sampleOf } from './harness.js';
import { Traffic } from './traffic.js';

const ROUTERS = 2;
const CLIENTS = 12;
/** What a load balancer takes to send nothing more to a router that is about to stop. */
const UNLISTED_MS = 500;
/** Of all streams that are still to end when every container has been replaced. */
const REST_LIMIT_MS = 1_800_000;

const QUESTIONS = [
  ask('Hello!'),
  ask('Describe the image.', picture('a')),
  ask('Tell me more.'),
  ask('What is at B2?', picture('b')),
];
/** Every eighth stream is long: of these some are under way whenever a worker ends. */
const TOKENS = [48, 48, 48, 48, 48, 48, 48, 700];

export interface Outcome {
  readonly routers: number;
  readonly workers: number;
  /** That asked at one time. */
  readonly clients: number;
  readonly streams: number;
  /** Streams that were cut, refused, or said something else than others that were asked the same. */
  readonly lost: readonly string[];
  /** Streams that ended while containers were replaced. */
  readonly duringReplacements: number;
  readonly replacementSeconds: number;
  /** Of the containers that were replaced. */
  readonly exitCodes: readonly number[];
  /** Streams that went on with another worker. */
  readonly resumed: number;
  /** What the containers run at the end. */
  readonly images: readonly string[];
}

function body(turn: number): object {
  const kind = turn % (QUESTIONS.length * TOKENS.length);
  const [messages, tokens] = [[QUESTIONS[turn % QUESTIONS.length]!], TOKENS[kind >> 2]!];
  return { model: 'emoji-vlm', stream: true, ignore_eos: true, temperature: 0, messages, max_tokens: tokens };
}

/** Finds streams that did not end, and those that differ from the first answer to the same request. */
function referee(): (text: string, turn: number) => string | undefined {
  const answers = new Map<string, string>();
  return (text, turn) => {
    const data = events(text);
    if (data.pop() !== '[DONE]') return `cut: ${text.slice(-300)}`;
    const choices = data.flatMap((event) => (JSON.parse(event) as Chunk).choices);
    if (choices.at(-1)?.finish_reason !== 'length') return `ended early: ${text.slice(-300)}`;
    const answer = choices.map(({ delta }) => delta.content ?? '').join('');
    const request = JSON.stringify(body(turn));
    const first = answers.get(request) ?? answer;
    answers.set(request, first);
    return answer === first ? undefined : `another answer: ${answer.slice(0, 300)}`;
  };
}

interface Chunk {
  readonly choices: readonly {
    readonly delta: { readonly content?: string };
    readonly finish_reason: string | null;
  }[];
}

/** Routers and workers in containers, each replaced by a new one that is ready before the old one is asked to end. */
class Fleet {
  readonly workers: Contained[] = [];
  /** Those that requests are sent to. */
  readonly routers: Contained[] = [];
  readonly exitCodes: number[] = [];
  resumed = 0;

  constructor(private readonly parts: ContainedParts) {}

  async start({ router, worker }: Images, workers: number): Promise<void> {
    for (let at = 0; at < workers; at += 1) this.workers.push(await this.parts.worker(worker));
    for (let at = 0; at < ROUTERS; at += 1) this.routers.push(await this.parts.router(router));
  }

  async replaceAll({ router, worker }: Images): Promise<void> {
    for (const at of this.workers.keys()) {
      const old = this.workers[at]!;
      this.workers[at] = await this.parts.worker(worker);
      this.exitCodes.push(await this.parts.stop(old));
    }
    for (const at of this.routers.keys()) {
      const old = this.routers[at]!;
      this.routers[at] = await this.parts.router(router);
      await sleep(UNLISTED_MS);
      await this.#countResumed(old);
      this.exitCodes.push(await this.parts.stop(old));
    }
  }

  async #countResumed({ url }: Contained): Promise<void> {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const name = 'kvcapsule_router_failovers_total{outcome="resumed"}';
    if (metrics.includes(name)) this.resumed += sampleOf(metrics, name);
  }
}

/**
 * Streams under steady load while every container is replaced by one of `to`, one after the other, and then by one of
 * `from` again.
 */
export async function rollingRestart(of: {
  readonly from: Images;
  readonly to: Images;
  readonly workers: number;
  /** So many at least. */
  readonly streams: number;
}): Promise<Outcome> {
  const store = await startServer({ password: 'of-the-tests' });
  const parts = new ContainedParts(store.url);
  const fleet = new Fleet(parts);
  try {
    await fleet.start(of.from, of.workers);
    const urls = () => fleet.routers.map(({ url }) => url);
    const traffic = new Traffic({ urls, body, clients: CLIENTS, fault: referee() });
    await traffic.more(CLIENTS);
    const [before, beganMs] = [traffic.total, performance.now()];
    await fleet.replaceAll(of.to);
    await fleet.replaceAll(of.from);
    const [duringReplacements, endedMs] = [traffic.total - before, performance.now()];
    await traffic.more(Math.max(0, of.streams - traffic.total), REST_LIMIT_MS);
    await traffic.stop();
    const images = await Promise.all([...fleet.routers, ...fleet.workers].map((part) => parts.imageOf(part)));
    return {
      routers: ROUTERS,
      workers: of.workers,
      clients: CLIENTS,
      streams: traffic.total,
      lost: traffic.failures,
      duringReplacements,
      replacementSeconds: Math.round((endedMs - beganMs) / 1000),
      exitCodes: fleet.exitCodes,
      resumed: fleet.resumed,
      images: [...new Set(images)].sort(),
    };
  } finally {
    await parts.end();
    await store.stop();
  }
}

/** Writes the outcome to the file that `KVCAPSULE_ROLLING_OUT` names, if any. */
export function keep(outcome: Outcome): void {
  const out = process.env['KVCAPSULE_ROLLING_OUT'];
  if (out === undefined) return;
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: ROOT,
    encoding: 'utf8',
  }).trim();
  const machine = `${cpus()[0]?.model.trim() ?? 'unknown'}, ${String(cpus().length)} cores`;
  const command =
    'KVCAPSULE_TEST_FULL=1 KVCAPSULE_ROLLING_OUT=FILE, e2e/src/release.int-spec.ts with the engine of tools/container-engine.mjs';
  const told = { command, commit, machine, ...outcome };
  writeFileSync(out, `${JSON.stringify(told, undefined, 2)}\n`);
}
