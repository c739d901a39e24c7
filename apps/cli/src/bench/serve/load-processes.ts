import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import type { LoadSpec, ShardState } from '@kvcapsule/load/generator';
import {
  countsOf,
  GapHistogram,
  type GeneratorHealth,
  type Measured,
  mergeMeasured,
} from '@kvcapsule/load/measurement';
import { CliError } from '../../failure.js';
import type { FromLoadProcess, ToLoadProcess } from './load.worker.js';

/** What all load processes have measured. */
export interface LoadOutcome {
  readonly measured: Measured;
  readonly generator: GeneratorHealth;
  /** Why the load was not the one that was asked for; empty when it was. */
  readonly faults: readonly string[];
  /** Different conversations of its source, where they come again after the last. */
  readonly distinct?: number;
}

export interface RunningLoad {
  readonly ended: Promise<LoadOutcome>;
  /** Ends it early. */
  readonly stop: () => void;
}

const LOAD_PROCESS = join(import.meta.dirname, 'load.worker.js');
/** From the last process that is ready until all begin. */
const HEAD_START_MS = 300;

type Result = Extract<FromLoadProcess, { kind: 'result' }>;

/** One process's part of a load. */
class LoadProcess {
  readonly #child: ChildProcess;
  readonly ready = Promise.withResolvers<undefined>();
  readonly result = Promise.withResolvers<Result>();

  constructor(onState: (state: ShardState) => void) {
    this.#child = fork(LOAD_PROCESS, [], {
      // Node's flags of this process, such as a debugger's port, are none of theirs
      execArgv: [],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message: FromLoadProcess) => {
      if (message.kind === 'ready') this.ready.resolve(undefined);
      else if (message.kind === 'state') onState(message.state);
      else if (message.kind === 'result') this.result.resolve(message);
      else this.#fail(message.message);
    });
    this.#child.on('error', (error) => {
      this.#fail(error.message);
    });
    this.#child.on('exit', (code, signal) => {
      this.#fail(`a load process ended with ${signal ?? String(code)}`);
    });
    // either may be looked at late, or never when another process fails first
    this.ready.promise.catch(() => undefined);
    this.result.promise.catch(() => undefined);
  }

  tell(message: ToLoadProcess): void {
    if (this.#child.connected) this.#child.send(message);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #fail(why: string): void {
    const error = new CliError(why);
    this.ready.reject(error);
    this.result.reject(error);
  }
}

function measuredOf({ records, gaps, warmUp }: Result): Measured {
  return { records, gaps: GapHistogram.decode(gaps), counts: countsOf(records), warmUp };
}

/** Starts a load in processes of their own, so that what this one prints takes no time from them. */
export async function startLoad(
  spec: LoadSpec,
  processes: number,
  onState: (process: number, state: ShardState) => void,
): Promise<RunningLoad> {
  const all = Array.from(
    { length: processes },
    (_, index) =>
      new LoadProcess((state) => {
        onState(index, state);
      }),
  );
  const kill = (): void => {
    for (const one of all) one.kill();
    process.off('exit', kill);
  };
  // one that stands still does not see that this process has gone
  process.on('exit', kill);
  for (const [index, one] of all.entries())
    one.tell({ kind: 'prepare', spec, shard: { index, of: processes } });
  try {
    await Promise.all(all.map(({ ready }) => ready.promise));
  } catch (error) {
    kill();
    throw error;
  }
  const startEpochMs = Date.now() + HEAD_START_MS;
  for (const one of all) one.tell({ kind: 'start', startEpochMs });
  const stop = (): void => {
    for (const one of all) one.tell({ kind: 'stop' });
  };
  return { ended: outcomeOf(all, stop).finally(kill), stop };
}

/** Results of all; when a process is lost the others end, and what they have measured is kept. */
async function outcomeOf(all: readonly LoadProcess[], stop: () => void): Promise<LoadOutcome> {
  for (const { result } of all) result.promise.catch(stop);
  const settled = await Promise.allSettled(all.map(({ result }) => result.promise));
  const results = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const lost = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []));
  const [first] = results;
  if (first === undefined) throw lost[0] ?? new CliError('no load process');
  return {
    measured: mergeMeasured(results.map(measuredOf)),
    generator: {
      loopLagMs: Math.max(...results.map(({ loopLagMs }) => loopLagMs)),
      cpuSeconds: results.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    },
    faults: [
      ...lost.map(({ message }) => `${message}; its requests are missing`),
      ...(results.some(({ isFull }) => isFull) ? ['a load process keeps no more requests'] : []),
    ],
    ...(first.distinct !== undefined && { distinct: first.distinct }),
  };
}
