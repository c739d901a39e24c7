import { type LoadSpec, ShardRun, type ShardState } from '@kvcapsule/load/generator';
import type { RequestRecord } from '@kvcapsule/load/measurement';
import type { Shard } from '@kvcapsule/load/run';
import { INTERRUPTS } from './interrupts.js';

/** What a load process is told. */
export type ToLoadProcess =
  | { readonly kind: 'prepare'; readonly spec: LoadSpec; readonly shard: Shard }
  | { readonly kind: 'start'; readonly startEpochMs: number }
  | { readonly kind: 'stop' };

/** What a load process tells. */
export type FromLoadProcess =
  | { readonly kind: 'ready' }
  | { readonly kind: 'state'; readonly state: ShardState }
  | {
      readonly kind: 'result';
      readonly records: readonly RequestRecord[];
      readonly gaps: string;
      readonly warmUp: number;
      readonly isFull: boolean;
      readonly distinct?: number;
      readonly loopLagMs: number;
      readonly cpuSeconds: number;
    }
  | { readonly kind: 'failed'; readonly message: string };

const tell = (message: FromLoadProcess, sent?: () => void): void => {
  process.send?.(message, undefined, undefined, sent);
};

// Ctrl-C reaches the whole group; the process that started this one says what is to be done
for (const signal of INTERRUPTS) process.on(signal, () => undefined);
process.on('disconnect', () => process.exit(1));

async function load(run: ShardRun, startEpochMs: number): Promise<void> {
  const { measured, ...rest } = await run.start(startEpochMs);
  const { records, gaps, warmUp } = measured;
  tell({ kind: 'result', records, gaps: gaps.encode(), warmUp, ...rest }, () => {
    process.disconnect();
  });
}

let run: ShardRun | undefined;

async function take(message: ToLoadProcess): Promise<void> {
  if (message.kind === 'prepare') {
    const { spec, shard } = message;
    const onState = (state: ShardState): void => {
      tell({ kind: 'state', state });
    };
    run = await ShardRun.prepare({ spec, shard, onState });
    tell({ kind: 'ready' });
  } else if (message.kind === 'stop') run?.stop();
  else if (run !== undefined) await load(run, message.startEpochMs);
}

process.on('message', (message: ToLoadProcess) => {
  take(message).catch((error: unknown) => {
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }, () =>
      process.exit(1),
    );
  });
});
