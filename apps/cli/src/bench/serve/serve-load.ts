import { loadavg } from 'node:os';
import { ChatClient } from '@kvcapsule/load/client';
import { type LoadSpec, probeServer } from '@kvcapsule/load/generator';
import { type RequestRecord, summarize } from '@kvcapsule/load/measurement';
import { columnsOf, LOAD_RESULT, type LoadResult } from '@kvcapsule/load/results';
import type { WordTokens, WorkloadSource } from '@kvcapsule/load/workload';
import { serverFetch } from '@kvcapsule/platform/http';
import { commitOf, machineName } from '@kvcapsule/reporting';
import { z } from 'zod';
import { CliError } from '../../failure.js';
import { adviceFor, unreachable } from './advice.js';
import { jsonOf } from '../../server.js';
import { commandText, loadText, workloadText } from './describe.js';
import { onInterrupt } from './interrupts.js';
import { type LoadOutcome, startLoad } from './load-processes.js';
import type { LoadOptions } from './options.js';
import { Progress } from './progress.js';

/** A server that has answered, and what a load of it needs to know. */
export interface Target {
  readonly baseUrl: string;
  readonly model: string;
  readonly words: WordTokens;
}

/** The status of a shell's child that Ctrl-C has ended. */
export const INTERRUPTED_STATUS = 130;
/** A list of models is there at once. */
const LIST_MS = 10_000;
/** Before it is told that the first answer is waited for. */
const PATIENCE_MS = 5_000;

const ModelList = z.object({ data: z.tuple([z.object({ id: z.string() })]).rest(z.unknown()) });

/** The first model that a server lists. */
async function firstModel(baseUrl: string, headers: Readonly<Record<string, string>>): Promise<string> {
  const response = await serverFetch(`${baseUrl}/models`, {
    headers,
    redirect: 'manual',
    signal: AbortSignal.timeout(LIST_MS),
  }).catch((error: unknown) => {
    throw unreachable(baseUrl, error);
  });
  const list = response.ok ? ModelList.safeParse(await jsonOf(response)) : undefined;
  if (list?.success) return list.data.data[0].id;
  throw new CliError(
    `${baseUrl}/models answers ${response.status} and lists no model`,
    adviceFor(`http_${response.status}`) ?? 'Name one with --model.',
  );
}

/** Asks the server for a token or two: a load that cannot work fails before it begins. */
export async function reachTarget(options: LoadOptions, log: (line: string) => void): Promise<Target> {
  const { baseUrl, headers, extraBody, silenceMs } = options;
  const model = options.model ?? (await firstModel(baseUrl, headers));
  const client = new ChatClient({ baseUrl, headers, silenceMs });
  const waiting = setTimeout(log, PATIENCE_MS, `waiting for the first answer of ${model} at ${baseUrl}`);
  try {
    const { words, fault, countsTokens } = await probeServer(client, model, extraBody);
    if (fault !== undefined)
      throw new CliError(`${baseUrl} does not answer a first request: ${fault}`, adviceFor(fault));
    if (!countsTokens) log('the server tells no usage of streams: a word counts as a token, a chunk as one');
    return { baseUrl, model, words };
  } finally {
    clearTimeout(waiting);
    await client.close();
  }
}

function sourceOf({ trace, conversations, mix }: LoadOptions, words: WordTokens): WorkloadSource {
  if (trace) return { kind: 'trace', ...trace, words };
  if (conversations === undefined) return { kind: 'generated', mix, words };
  const { outputTokens, turns } = mix;
  const most = outputTokens.kind === 'uniform' ? outputTokens.most : outputTokens;
  const tokens = typeof most === 'number' ? most : most.kind === 'fixed' ? most.tokens : 0;
  if (tokens === 0) throw new CliError('--output-tokens: a number, or LEAST-MOST, with --conversations');
  return { kind: 'conversations', path: conversations, turns, outputTokens: tokens };
}

function specOf(options: LoadOptions, { baseUrl, model, words }: Target): LoadSpec {
  const { headers, extraBody, silenceMs, shape, seed, requests, durationMs, warmUpMs, drainMs, thinkMs } =
    options;
  return {
    ...{ baseUrl, headers, model, extraBody, silenceMs },
    plan: {
      ...{ shape, seed, warmUpMs, drainMs, thinkMs, mostOpen: options.mostOpen },
      ...(requests !== undefined && { requests }),
      ...(durationMs !== undefined && { durationMs }),
    },
    source: sourceOf(options, words),
  };
}

/** What a load came to. */
export interface Driven extends LoadOutcome {
  /** Why it is not the whole of its plan; empty when it is. */
  readonly partial: readonly string[];
}

/** Drives a load while its progress is told; the first Ctrl-C ends it with what has been measured, the second at once. */
export async function driveLoad(options: LoadOptions, target: Target, title: string): Promise<Driven> {
  const progress = new Progress(process.stderr, title);
  const load = await startLoad(specOf(options, target), options.processes, (index, state) => {
    progress.take(index, state);
  });
  let signals = 0;
  const isOver = onInterrupt(() => {
    signals += 1;
    if (signals > 1) process.exit(INTERRUPTED_STATUS);
    load.stop();
  });
  progress.begin();
  try {
    const outcome = await load.ended;
    return {
      ...outcome,
      partial: [...(signals > 0 ? ['ended before its plan did'] : []), ...outcome.faults],
    };
  } finally {
    progress.end();
    isOver();
  }
}

/** One load from its first request to its results. */
export async function measureLoad(options: LoadOptions, target: Target, name: string): Promise<LoadResult> {
  const begin = loadavg()[0] ?? 0;
  const driven = await driveLoad(options, target, name);
  return resultOf(options, target, driven, { name, machineLoad: [begin, loadavg()[0] ?? 0] });
}

/** Conversations come again after the last of the file: a server's prefix cache knows them then. */
function repeatsOf(records: readonly RequestRecord[], distinct: number): LoadResult['repeats'] {
  const asked = new Set(records.map(({ conversation }) => conversation));
  const again = [...asked].filter((number) => number >= distinct).length;
  return { distinct, asked: asked.size, again };
}

async function resultOf(
  options: LoadOptions,
  { baseUrl, model }: Target,
  { measured, generator, partial, distinct }: Driven,
  { name, machineLoad }: Pick<LoadResult, 'name' | 'machineLoad'>,
): Promise<LoadResult> {
  const { slo, lagLimitMs, processes, warmUpMs } = options;
  return {
    ...{ kind: LOAD_RESULT, version: 1, name, command: commandText(process.argv.slice(2)) },
    ...{
      commit: await commitOf(),
      date: new Date().toISOString().slice(0, 19) + 'Z',
      machine: machineName(),
    },
    ...{
      target: { url: baseUrl, model },
      load: loadText(options),
      workload: workloadText(options),
      processes,
    },
    ...(slo && { slo: { ...slo } }),
    ...{ complete: partial.length === 0, partial: [...partial], warmUpMs, machineLoad },
    ...(distinct !== undefined && { repeats: repeatsOf(measured.records, distinct) }),
    summary: summarize(measured, generator, lagLimitMs, slo) as LoadResult['summary'],
    gaps: measured.gaps.encode(),
    requests: columnsOf(measured.records),
  };
}

/** What a run is called that was given no name. */
export const defaultName = ({ shape }: LoadOptions): string =>
  shape.kind === 'open'
    ? 'open loop'
    : shape.kind === 'closed'
      ? `closed loop of ${shape.concurrency}`
      : 'trace';
