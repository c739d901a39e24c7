import { KvcError } from '@kvcapsule/contracts/errors';
import { HealthService } from '@kvcapsule/contracts/health';
import { WorkerServiceService } from '@kvcapsule/contracts/worker';
import type { LedgerPort } from '@kvcapsule/domain/ledger';
import type { RegistryPort, WorkerDescriptor, WorkerLoad } from '@kvcapsule/domain/registry';
import { type Codec, type NativeEngine, servedCodecs, type StoredFormat } from '@kvcapsule/engine';
import { createRpcServer, listenRpc } from '@kvcapsule/platform/rpc';
import { MeasuredLedger, MeasuredRegistry, type WorkerMetrics } from '@kvcapsule/platform/telemetry';
import type { Tracing } from '@kvcapsule/platform/tracing';
import { type Detokenizer, Serving } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import { FreedAnnouncer } from './cluster/freed-announcer.js';
import { LeaseKeeper } from './cluster/lease-keeper.js';
import { Registration } from './cluster/registration.js';
import { type DecodeImage, Executor } from './executor.js';
import { PictureInbox } from './pictures/picture-inbox.js';
import { startMetricsServer } from './metrics-server.js';
import { createHealthCheck } from './rpc/health.js';
import { createWorkerRpc } from './rpc/worker-rpc.js';
import { WorkerTelemetry } from './telemetry/worker-telemetry.js';

const FIGURES_MS = 1_000;

/** Everything a worker is made of; `main.ts` brings the real parts. */
export interface WorkerParts {
  readonly engine: NativeEngine;
  readonly registry: RegistryPort;
  readonly ledger: LedgerPort;
  readonly metrics: WorkerMetrics;
  /** Absent: nothing is recorded. */
  readonly tracing?: Tracing | undefined;
  readonly logger: Logger;
  readonly decodeImage: DecodeImage;
  /** Names model and image processor in the identity of a picture's features. */
  readonly imageProcessor: string;
  readonly createDetokenizer: () => Detokenizer;
  readonly stopTokenIds: ReadonlySet<number>;
  readonly model: {
    readonly id: string;
    readonly revision: string;
    /** Of what turns messages and pictures into tokens. */
    readonly processorRevision: string;
    /** Types of weights and raw rows. */
    readonly precision: string;
    /** Backend, instruction-set class and kernel revision. */
    readonly arithmetic: string;
    readonly engineVersion: string;
  };
  readonly codec: Codec;
  /** Name and hash of the profiles in use; empty with codec raw. */
  readonly profileId: string;
  /** What each of the engine's formats keeps of each layer; asked when somebody wants to know. Absent: nobody knows. */
  readonly describeFormats?: () => Promise<readonly StoredFormat[]>;
  readonly config: {
    readonly id: string;
    readonly listen: string;
    readonly advertise?: string | undefined;
    readonly poolBlocks: number;
    readonly swapPages: number;
    readonly textUnderPressure?: Codec;
    readonly maxStepTokens: number;
    readonly maxPrefillChunk: number;
    readonly maxRunning: number;
    readonly encoderCacheBytes: number;
    readonly guaranteedShare?: number;
    /** Of `/metrics` and `/health`; absent: they are served nowhere. */
    readonly metricsAt?: { readonly host: string; readonly port: number };
    readonly heartbeatMs?: number;
  };
  /** Nothing is served any more: the process has been replaced by a newer one. */
  readonly onReplaced: () => void;
}

export interface Worker {
  readonly address: string;
  readonly metricsUrl: string | undefined;
  /** What it has decided so far; to be read only. */
  readonly serving: Serving;
  readonly epoch: () => number;
  /** Refuses new requests and waits for the running ones. Resolves to how many were aborted at the end. */
  drain(timeoutMs: number): Promise<number>;
  /** Nothing more is served. */
  fail(error: KvcError): void;
  /** Leaves the registry, closes the ports, frees the engine. */
  close(): Promise<void>;
}

/** Brings a worker up: loop, gRPC, metrics, then the registry, so that routers only find it when it answers. */
export async function startWorker(given: WorkerParts): Promise<Worker> {
  const parts = measured(given);
  const { config, engine, logger, describeFormats } = parts;
  // the registration needs what is made first, and that asks for its epoch
  const cluster: { registration?: Registration } = {};
  const epoch = (): number => cluster.registration?.epoch ?? 0;
  const identity = (): { workerId: string; epoch: number } => ({ workerId: config.id, epoch: epoch() });
  const serving = createServing(parts);
  const load = loadOf(serving);
  const announcer = new FreedAnnouncer(() => parts.registry.freed(config.id, epoch(), load()));
  const leases = new LeaseKeeper({
    ...{ ledger: parts.ledger, identity, logger, capacityPages: serving.scheduler.pool.capacityPages },
    givenBack: (id, error) => {
      executor.loseLease(id, error);
    },
    freed: () => {
      announcer.freed();
    },
    forgotten: () => void cluster.registration?.beatNow(),
  });
  const { decodeImage, imageProcessor } = parts;
  const telemetry = telemetryOf(parts);
  const pictures = new PictureInbox();
  const executor = new Executor({
    ...{ serving, engine, leases, pictures, decodeImage, imageProcessor, telemetry, logger },
  });
  const drain = async (timeoutMs: number): Promise<number> => {
    const drained = executor.drain(timeoutMs);
    await cluster.registration?.beatNow();
    return drained;
  };
  const setAdmission = async (isOpen: boolean): Promise<boolean> => {
    const isSet = executor.setAdmission(isOpen);
    if (isSet) logger.info({ open: isOpen }, 'admission of requests was set');
    await cluster.registration?.beatNow();
    return isSet;
  };
  const server = createRpcServer();
  server.addService(
    WorkerServiceService,
    createWorkerRpc({ executor, pictures, serving, drain, setAdmission, describeFormats, logger }),
  );
  server.addService({ check: HealthService.check }, { check: createHealthCheck(() => serving.state) });
  const address = await listenOn(server, config.listen);
  const http = config.metricsAt && (await startMetricsServer(serving, telemetry, config.metricsAt));
  executor.start();
  const descriptor = descriptorOf(parts, serving, config.advertise ?? address, http?.url);
  const events = {
    registered: () => leases.rebuild(),
    beat: () => leases.retry(),
    replaced: () => {
      executor.fail(new KvcError('STALE_EPOCH', 'The worker was replaced by a newer one.'));
      parts.onReplaced();
    },
  };
  const registration = new Registration(parts.registry, descriptor, load, events, logger, config.heartbeatMs);
  cluster.registration = registration;
  await registration.start();
  return {
    address,
    metricsUrl: http?.url,
    serving,
    epoch,
    drain,
    fail: (error) => {
      executor.fail(error);
    },
    close: async () => {
      await announcer.stop();
      await registration.stop();
      await executor.stop();
      server.forceShutdown();
      await http?.close();
      await engine.dispose();
      await parts.tracing?.close();
    },
  };
}

/** What the registry is told of it. */
function loadOf(serving: Serving): () => WorkerLoad {
  const figures = everySecond(() => serving.poolFigures);
  return () => ({
    state: serving.state,
    running: serving.running,
    waiting: serving.waiting,
    freePages: serving.scheduler.pool.freePages,
    pool: figures(),
  });
}

/** What is told with every burst of freed pages is made once a second, since it takes a look at every request. */
function everySecond<T>(make: () => T): () => T {
  let made: { readonly value: T; readonly atMs: number } | undefined;
  return () => {
    const nowMs = performance.now();
    if (!made || nowMs - made.atMs >= FIGURES_MS) made = { value: make(), atMs: nowMs };
    return made.value;
  };
}

/** Its store's verbs are timed. */
function measured({ ledger, registry, metrics, ...parts }: WorkerParts): WorkerParts {
  return {
    ...parts,
    metrics,
    ledger: new MeasuredLedger(ledger, metrics),
    registry: new MeasuredRegistry(registry, metrics),
  };
}

/** It has told what does not change. */
function telemetryOf({ metrics, tracing, model, codec, config, logger, engine: { info } }: WorkerParts) {
  const { id, arithmetic, engineVersion: engine } = model;
  metrics.info.set({ model_id: id, codec, arithmetic, engine }, 1);
  metrics.swapCapacity.set(config.swapPages * info.pageBytes);
  const codecs = info.formats.map((format) => format.codec);
  return new WorkerTelemetry(metrics, logger, codecs, tracing);
}

function createServing({ engine, config, model, imageProcessor, codec, ...parts }: WorkerParts): Serving {
  const { poolBlocks, swapPages, maxStepTokens, maxPrefillChunk, maxRunning, encoderCacheBytes } = config;
  const { stopTokenIds, createDetokenizer } = parts;
  const { textUnderPressure = 'raw' } = config;
  return new Serving({
    ...{ poolBlocks, swapPages, maxStepTokens, maxPrefillChunk, maxRunning, encoderCacheBytes },
    guaranteedShare: config.guaranteedShare,
    geometry: engine.info,
    root: {
      ...{ modelRevision: model.revision, arithmetic: model.arithmetic },
      ...{ precision: model.precision, imageProcessor },
    },
    ...{ codec, codecs: servedCodecs(engine.info), textUnderPressure, stopTokenIds },
    createDetokenizer,
  });
}

async function listenOn(server: ReturnType<typeof createRpcServer>, listen: string): Promise<string> {
  const port = await listenRpc(server, listen);
  return `${listen.slice(0, listen.lastIndexOf(':'))}:${port}`;
}

const UNSPECIFIED: readonly string[] = ['0.0.0.0', '[::]'];

/** Where others reach `/metrics`: of one that listens on all addresses, at the host of the worker's own. */
function metricsAddress(url: string, address: string): string {
  const { hostname, port } = new URL(url);
  return `${UNSPECIFIED.includes(hostname) ? address.slice(0, address.lastIndexOf(':')) : hostname}:${port}`;
}

function descriptorOf(
  parts: WorkerParts,
  serving: Serving,
  address: string,
  metricsUrl: string | undefined,
): WorkerDescriptor {
  const { contextTokens, blockTokens, pagesPerBlock, pageBytes, formats } = parts.engine.info;
  return {
    workerId: parts.config.id,
    address,
    metricsAddress: metricsUrl === undefined ? undefined : metricsAddress(metricsUrl, address),
    modelId: parts.model.id,
    modelRevision: parts.model.revision,
    processorRevision: parts.model.processorRevision,
    arithmetic: parts.model.arithmetic,
    precision: parts.model.precision,
    imageProcessor: parts.imageProcessor,
    contextTokens,
    blockTokens,
    pagesPerBlock,
    pageBytes,
    capacityPages: serving.scheduler.pool.capacityPages,
    maxRunning: parts.config.maxRunning,
    codec: parts.codec,
    profileId: parts.profileId,
    codecs: servedCodecs(parts.engine.info),
    formats: formats.map(({ codec, profileId, tokens, markerRows, pages, headerBytes, bytesPerToken }) => ({
      ...{ codec, profileId, tokens, pages, headerBytes, bytesPerToken },
      markerRows: [...markerRows],
    })),
  };
}
