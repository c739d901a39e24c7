import type { LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort } from '@kvcapsule/domain/registry';
import { DEFAULT_IMAGE_POLICY, inspectImage } from '@kvcapsule/multimodal';
import { createMetrics, type WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { type DecodeImage, nameImageProcessor, startWorker, type Worker } from '@kvcapsule/worker-runtime';
import type { Logger } from 'pino';

import { TimedEngine } from '../engine/index.js';
import type { SimulatedModel } from '../model/index.js';

export interface SimulationOptions {
  readonly model: SimulatedModel;
  readonly registry: RegistryPort;
  readonly ledger: LedgerPort;
  readonly logger: Logger;
  /** Ids are this and a number from 0 on. */
  readonly idPrefix: string;
  /** That all listen on, each at a port of its own. */
  readonly host: string;
  /** Times that engines are faster than the one that was measured. */
  readonly speedup: number;
  /** Of each worker. */
  readonly poolBlocks: number;
  /** Tokens of an answer that neither a limit nor a stop string ends, on average. */
  readonly answerTokens: number;
  readonly heartbeatMs?: number;
}

export interface SimulatedWorker extends Worker {
  readonly id: string;
  readonly engine: TimedEngine;
}

export interface SimulatedWorkers {
  readonly workers: readonly SimulatedWorker[];
  /** What all have counted together. */
  readonly metrics: WorkerMetrics;
  /** Refuses new requests and waits for the running ones. Resolves to how many were aborted at the end. */
  drain(timeoutMs: number): Promise<number>;
  /** Each leaves the registry and closes its port. */
  close(): Promise<void>;
}

/** Names all simulated arithmetic: whoever bears it gives the same tokens, and nobody else does. */
const ARITHMETIC = 'simulated-1';
/** As a worker has them unless it is told otherwise. */
const BOUNDS = { maxStepTokens: 2048, maxPrefillChunk: 32, maxRunning: 64, encoderCacheBytes: 128 * 2 ** 20 };
const SWAP_BYTES = 256 * 2 ** 20;
/** Workers that are started or stopped at one time; more only wait for the store. */
const AT_ONCE = 32;

/**
 * Brings up workers whose core, service, leases and place in the registry are real, and whose engines only keep time
 * and pages; all in this process. When one cannot be started, those that were are closed.
 */
export async function startSimulatedWorkers(
  count: number,
  options: SimulationOptions,
): Promise<SimulatedWorkers> {
  // a registry of metrics each would sample the event loop as often as there are workers
  const metrics = createMetrics('worker');
  const workers: SimulatedWorker[] = [];
  const close = () =>
    inParallel(workers, async (worker) => {
      await worker.close();
    });
  const numbers = Array.from({ length: count }, (_, number) => number);
  try {
    await inParallel(numbers, async (number) => {
      workers[number] = await startOne(`${options.idPrefix}${number}`, metrics, options);
    });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    workers,
    metrics,
    drain: async (timeoutMs) => {
      const aborted = await Promise.all(workers.map((worker) => worker.drain(timeoutMs)));
      return aborted.reduce((sum, each) => sum + each, 0);
    },
    close,
  };
}

async function startOne(
  id: string,
  metrics: WorkerMetrics,
  options: SimulationOptions,
): Promise<SimulatedWorker> {
  const { model, registry, ledger, logger, poolBlocks } = options;
  const { folder, revision } = model;
  const { weights, kvDtype, codec, profileId } = model.engine;
  const engine = engineOf(options);
  const worker = await startWorker({
    ...{ engine, registry, ledger, metrics, logger, codec, profileId },
    decodeImage: inspectOnly,
    imageProcessor: nameImageProcessor(
      { modelRevision: revision, specification: folder.specification },
      weights,
    ),
    createDetokenizer: () => folder.detokenizer(),
    stopTokenIds: new Set(folder.eosTokenIds),
    model: {
      ...{ id: model.id, revision, processorRevision: folder.processorRevision },
      ...{ precision: `${weights}/${kvDtype}`, arithmetic: ARITHMETIC, engineVersion: ARITHMETIC },
    },
    config: {
      ...{ id, listen: `${options.host}:0`, poolBlocks },
      ...BOUNDS,
      swapPages: Math.floor(SWAP_BYTES / model.engine.info.pageBytes),
      ...(options.heartbeatMs !== undefined && { heartbeatMs: options.heartbeatMs }),
    },
    onReplaced: () => {
      logger.warn({ worker: id }, 'another process has taken the place of a simulated worker');
    },
  });
  return { ...worker, id, engine };
}

function engineOf({ model, poolBlocks, speedup, answerTokens }: SimulationOptions): TimedEngine {
  const { folder, engine, ordinaryTokens: ordinary } = model;
  const [end = -1] = folder.eosTokenIds;
  return new TimedEngine({
    ...{ info: engine.info, costs: engine.costs, poolBlocks, speedup },
    answers: { ordinary, end, meanTokens: answerTokens },
    imageTokens: (widthPx, heightPx) => folder.pictureSpan(widthPx, heightPx).imageTokens,
  });
}

/** A picture's file stands for its pixels: decoding costs what a simulated engine saves. */
const inspectOnly: DecodeImage = async (encoded, param) => {
  const { maxPixels } = DEFAULT_IMAGE_POLICY;
  const { width, height } = await inspectImage(encoded, { param, maxPixels });
  return { rgb: encoded, width, height };
};

/** Some at one time; fails with the first that does when all that were begun have ended. */
async function inParallel<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = all.values();
  const lane = async (): Promise<void> => {
    for (const one of left) await work(one);
  };
  const lanes = await Promise.allSettled(Array.from({ length: AT_ONCE }, lane));
  const failed = lanes.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
}
