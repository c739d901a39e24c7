import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compareSides } from '@kvcapsule/load/comparison';
import { type Measured, summarize } from '@kvcapsule/load/measurement';
import { commitOf, machineName } from '@kvcapsule/reporting';
import { CliError, cliErrorOf } from '../../failure.js';
import { type Comparison, LOAD_COMPARISON } from './comparison-report.js';
import { onInterrupt } from './interrupts.js';
import { commandText, loadText, workloadText } from './describe.js';
import type { LoadOptions } from './options.js';
import { type Driven, driveLoad, INTERRUPTED_STATUS, reachTarget, type Target } from './serve-load.js';

/** Another server that takes turns with the first. */
export interface PeerOptions {
  /** What starts it; absent when it runs already. */
  readonly command?: string;
  /** The same load on it, with its own address, model and key. */
  readonly options: LoadOptions;
  readonly rounds: number;
}

/** A large model takes minutes to load. */
const READY_MS = 15 * 60_000;
const STOP_MS = 20_000;

/** Whether anything speaks HTTP there. */
async function answers(baseUrl: string): Promise<boolean> {
  const response = await fetch(`${baseUrl}/models`, { signal: AbortSignal.timeout(2_000) }).catch(
    () => undefined,
  );
  return response !== undefined && response.status < 500;
}

/** Starts the peer in a group of its own, all of which is ended afterwards. */
async function startPeer(command: string, baseUrl: string): Promise<() => Promise<void>> {
  if (await answers(baseUrl))
    throw new CliError(`${baseUrl} is in use already`, 'Name another port with --peer-url.');
  const logPath = join(tmpdir(), `kvcapsule-peer-${process.pid}.log`);
  const log = await open(logPath, 'w');
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', log.fd, log.fd] });
  await log.close();
  let hasEnded = false;
  const ended = new Promise<void>((ok) => {
    child.once('exit', () => {
      hasEnded = true;
      ok();
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // the group is gone
    }
  };
  const killNow = (): void => {
    signal('SIGKILL');
  };
  // nobody else ends it: it is in a group of its own, which Ctrl-C does not reach
  process.once('exit', killNow);
  const isOver = onInterrupt(() => process.exit(INTERRUPTED_STATUS));
  const stop = async (): Promise<void> => {
    signal('SIGTERM');
    await Promise.race([ended, sleep(STOP_MS, undefined, { ref: false })]);
    killNow();
    process.off('exit', killNow);
    isOver();
  };
  const untilMs = performance.now() + READY_MS;
  while (!(await answers(baseUrl))) {
    if (hasEnded || performance.now() > untilMs) {
      await stop();
      throw new CliError(
        `the peer ${hasEnded ? 'ended before it answered' : 'does not answer'}`,
        `Its output: ${logPath}`,
      );
    }
    await sleep(500);
  }
  return stop;
}

interface Contender {
  readonly options: LoadOptions;
  readonly target: Target;
  readonly measured: Measured[];
}

async function contender(options: LoadOptions): Promise<Contender> {
  const log = (line: string) => process.stderr.write(`${line}\n`);
  return { options, target: await reachTarget(options, log), measured: [] };
}

/**
 * Both sides in turns, the first of each round the last of the one before. A round counts when both have ended it.
 *
 * @returns what is to be known of the numbers
 */
async function takeTurns(a: Contender, b: Contender, rounds: number): Promise<string[]> {
  const warnings: string[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const taken: [Contender, Measured][] = [];
    const order =
      round % 2 === 1
        ? ([
            ['ours', a],
            ['peer', b],
          ] as const)
        : ([
            ['peer', b],
            ['ours', a],
          ] as const);
    for (const [name, side] of order) {
      const driven = await takeTurn(side, round, name).catch(cliErrorOf);
      if (driven instanceof CliError)
        return [...warnings, `PARTIAL: round ${round}, ${name}: ${driven.message}`];
      warnings.push(...faultsOf(driven, side.options).map((why) => `round ${round}, ${name}: ${why}`));
      if (driven.partial.length > 0) return warnings;
      taken.push([side, driven.measured]);
    }
    for (const [side, measured] of taken) side.measured.push(measured);
  }
  return warnings;
}

/** A seed of its own for each round, the same for both sides. */
const takeTurn = ({ options, target }: Contender, round: number, name: string): Promise<Driven> =>
  driveLoad({ ...options, seed: options.seed + round }, target, `round ${round}, ${name}`);

function faultsOf({ measured, generator, partial }: Driven, { lagLimitMs }: LoadOptions): string[] {
  const { invalid, counts } = summarize(measured, generator, lagLimitMs);
  const kinds = Object.entries(counts.errors).map(([kind, count]) => `${kind}: ${count}`);
  return [
    ...partial.map((why) => `PARTIAL: ${why}`),
    ...invalid.map((why) => `INVALID: ${why}`),
    ...(kinds.length > 0 ? [`of ${counts.started} requests failed ${kinds.join(', ')}`] : []),
  ];
}

/** Runs the load on both servers in turns. */
export async function measureBeside(
  options: LoadOptions,
  { command, options: peerOptions, rounds }: PeerOptions,
): Promise<Comparison> {
  const ours = await contender(options);
  const stop = command === undefined ? undefined : await startPeer(command, peerOptions.baseUrl);
  try {
    const theirs = await contender(peerOptions);
    const warnings = await takeTurns(ours, theirs, rounds);
    if (ours.measured.length === 0)
      throw new CliError('no round was measured on both sides', warnings.at(-1));
    return {
      ...{ kind: LOAD_COMPARISON, version: 1, a: 'peer', b: 'ours', rounds: ours.measured.length },
      metrics: compareSides(theirs.measured, ours.measured, options.slo),
      warnings,
      provenance: [
        ['command', commandText(process.argv.slice(2))],
        ['commit', await commitOf()],
        ['date', new Date().toISOString().slice(0, 10)],
        ['machine', machineName()],
        ['load', `${loadText(options)}; ${workloadText(options)}`],
        ['ours', `${ours.target.model} at ${ours.target.baseUrl}`],
        ['peer', `${theirs.target.model} at ${theirs.target.baseUrl}`],
      ],
    };
  } finally {
    await stop?.();
  }
}
