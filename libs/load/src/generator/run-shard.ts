import { monitorEventLoopDelay } from 'node:perf_hooks';
import { ChatClient } from '../client/index.js';
import { isOk, type Measured, type RequestRecord, ttftMs } from '../measurement/index.js';
import { LoadRun, type RunClock, type RunState, type Shard } from '../run/index.js';
import { openWorkload, type Pictures, type Workload } from '../workload/index.js';
import { type LoadSpec, picturesOf } from './load-spec.js';

/** What a load process tells while it runs. */
export interface ShardState extends RunState {
  /** Of requests that ended since the last time. */
  readonly ttftMs: readonly number[];
}

/** What a load process has measured. */
export interface ShardResult {
  readonly measured: Measured;
  /** Whether it ended because it keeps no more requests. */
  readonly isFull: boolean;
  /** Different conversations of its source, where they come again after the last. */
  readonly distinct?: number;
  /** 99th percentile of how late its event loop was. */
  readonly loopLagMs: number;
  readonly cpuSeconds: number;
}

export interface ShardOptions {
  readonly spec: LoadSpec;
  readonly shard: Shard;
  readonly onState: (state: ShardState) => void;
}

const STATE_EVERY_MS = 250;
const LOOP_RESOLUTION_MS = 5;
const US_PER_SECOND = 1e6;
const NS_PER_MS = 1e6;
/** Of a quarter of a second: enough for the percentiles of a line of progress. */
const MOST_TOLD = 500;

/** Time since a moment of the epoch, by the clock that nobody sets. */
function clockFrom(startEpochMs: number): RunClock {
  const originMs = startEpochMs - performance.timeOrigin;
  return {
    now: () => performance.now() - originMs,
    after: (ms, act) => {
      const timer = setTimeout(act, Math.max(0, ms));
      return () => {
        clearTimeout(timer);
      };
    },
  };
}

/** One process's part of a load, in this process. */
export class ShardRun {
  #run: LoadRun | undefined;
  #ttftMs: number[] = [];

  private constructor(
    readonly options: ShardOptions,
    readonly workload: Workload,
    readonly pictures: Pictures,
  ) {}

  /** Reads and makes whatever takes time, so that the run itself begins on time. */
  static async prepare(options: ShardOptions): Promise<ShardRun> {
    const { spec } = options;
    return new ShardRun(options, await openWorkload(spec.source, spec.plan.seed), picturesOf(spec));
  }

  /** @param startEpochMs when the run starts, ms of the epoch: the same for all processes */
  async start(startEpochMs: number): Promise<ShardResult> {
    const { spec, shard } = this.options;
    const { baseUrl, headers, silenceMs, plan, model, extraBody } = spec;
    const clock = clockFrom(startEpochMs);
    const transport = new ChatClient({ baseUrl, headers, silenceMs });
    this.#run = new LoadRun({
      ...{ plan: { ...plan, shard }, workload: this.workload, pictures: this.pictures, transport, clock },
      body: { model, extra: extraBody },
      onRecord: (record) => {
        this.#note(record);
      },
    });
    const telling = setInterval(() => {
      this.#tell();
    }, STATE_EVERY_MS);
    await new Promise((ok) => setTimeout(ok, Math.max(0, -clock.now())));
    try {
      const { distinct } = this.workload;
      return { ...(await measured(this.#run)), ...(distinct !== undefined && { distinct }) };
    } finally {
      clearInterval(telling);
      this.#tell();
      await transport.close();
    }
  }

  /** Ends it early; what has been measured counts. */
  stop(): void {
    this.#run?.stop();
  }

  #note(record: RequestRecord): void {
    if (isOk(record) && this.#ttftMs.length < MOST_TOLD) this.#ttftMs.push(ttftMs(record));
  }

  #tell(): void {
    if (this.#run === undefined) return;
    this.options.onState({ ...this.#run.state, ttftMs: this.#ttftMs });
    this.#ttftMs = [];
  }
}

async function measured(run: LoadRun): Promise<Omit<ShardResult, 'distinct'>> {
  const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });
  const before = process.cpuUsage();
  loop.enable();
  try {
    const all = await run.start();
    const { user, system } = process.cpuUsage(before);
    const loopLagMs = Math.max(0, loop.percentile(99) / NS_PER_MS - LOOP_RESOLUTION_MS);
    const cpuSeconds = (user + system) / US_PER_SECOND;
    return { measured: all, isFull: run.isFull, loopLagMs, cpuSeconds };
  } finally {
    loop.disable();
  }
}
