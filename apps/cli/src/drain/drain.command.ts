import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterAdmission, ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { type Command, InvalidArgumentError } from 'commander';
import { CliError } from '../failure.js';
import {
  NobodyAnswers,
  requestJson,
  type Server,
  serverOf,
  serverOptions,
  type ServerOptions,
} from '../server.js';
import { DrainWait, EMPTY, left, type Sight, sightIn } from './drain-wait.js';

const INTERVAL_MS = 500;

interface DrainOptions extends ServerOptions {
  readonly undo?: true;
  readonly wait: boolean;
  readonly timeout: number;
  readonly json?: true;
}

const EXAMPLES = `
Examples:
  kvcapsule drain worker-0                 it takes no more requests; waits until its answers have ended
  kvcapsule drain worker-0 --undo          it takes requests again
  kvcapsule drain worker-0 --no-wait

It holds while routers restart, and ends with the worker's process. Requests that cannot run elsewhere wait meanwhile.`;

export function registerDrain(program: Command): void {
  serverOptions(
    program
      .command('drain')
      .description('have a worker take no more requests and let its answers end')
      .argument('<worker>', 'id of the worker, as `kvcapsule status` lists it'),
    'an admin’s key, where the router has keys',
  )
    .option('--undo', 'have it take requests again')
    .option('--no-wait', 'do not wait until it is empty')
    .option('--timeout <seconds>', 'the longest that is waited', secondsOf, 900)
    .option('--json', 'print JSON: what the worker had when it was asked, and at the end')
    .addHelpText('after', EXAMPLES)
    .action(drain);
}

function secondsOf(text: string): number {
  if (/^\d{1,6}$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('it must be a whole number of at least 1.');
}

async function drain(worker: string, options: DrainOptions): Promise<void> {
  const server = serverOf(options);
  const verb = options.undo ? 'resume' : 'drain';
  const path = `/v1/cluster/workers/${encodeURIComponent(worker)}/${verb}`;
  const asked = await requestJson(server, path, ClusterAdmission, { method: 'POST' });
  const waits = !options.undo && options.wait;
  const say = (line: string): void => {
    if (!options.json) process.stdout.write(`${line}\n`);
  };
  say(options.undo ? `${worker} takes requests again` : `${worker} takes no more requests: ${left(asked)}`);
  if (waits) await untilEmpty(server, worker, options.timeout * 1_000, say);
  if (options.json)
    process.stdout.write(`${JSON.stringify({ ...asked, empty: waits || left(asked) === EMPTY })}\n`);
  else if (waits) say(`${worker} is empty`);
}

/** A line each time that the count changes. A router that starts anew meanwhile is waited for: the worker goes on. */
async function untilEmpty(
  server: Server,
  worker: string,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  const wait = new DrainWait(worker);
  for (;;) {
    const { line, isOver } = wait.next(await sightOf(server, worker));
    if (isOver) return;
    if (line !== undefined) say(line);
    if (performance.now() > giveUpAt)
      throw new CliError(
        `${worker} is not empty after ${String(timeoutMs / 1_000)} s: ${wait.last}.`,
        'It goes on with them and takes no others; the same command waits again.',
      );
    await sleep(INTERVAL_MS);
  }
}

async function sightOf(server: Server, worker: string): Promise<Sight> {
  try {
    return sightIn(await requestJson(server, '/v1/cluster', ClusterSnapshot), worker);
  } catch (error) {
    if (error instanceof NobodyAnswers) return { kind: 'unknown', why: 'the router does not answer' };
    throw error;
  }
}
