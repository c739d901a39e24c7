import { hostname } from 'node:os';
import { basename, resolve } from 'node:path';

import { KvcError } from '@kvcapsule/contracts/errors';
import {
  type Codec,
  type CpuIsa,
  describeFormats,
  describeMemory,
  discoverProfiles,
  type Engine,
  loadBinding,
  openEngine,
  servedCodecs,
  storedDtype,
  type WeightType,
} from '@kvcapsule/engine';
import { guestSlots } from '@kvcapsule/domain/scheduling';
import { type ModelFolder, openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { parseConfig, unreadVariables } from '@kvcapsule/platform/config';
import { createLogger, type Logger, logWarnings, outliveClosedPipes } from '@kvcapsule/platform/logging';
import { onEndSignals, outliveHangup } from '@kvcapsule/platform/processes';
import { createRedisClient, RedisLedger, RedisRegistry, redisSettings } from '@kvcapsule/platform/redis';
import {
  addVllmWorkerMetrics,
  createMetrics,
  watchEventLoop,
  type WorkerMetrics,
} from '@kvcapsule/platform/telemetry';
import { startTracing, type TracingSettings, tracingSettings } from '@kvcapsule/platform/tracing';
import { nameImageProcessor, startWorker, type Worker } from '@kvcapsule/worker-runtime';

import { defaultWorkerId, type WorkerConfig as Settings, workerConfigSchema } from './config.js';
import { mostTiles, planMemory, plannedBlocks, reportMemory, weightType } from './memory/plan-memory.js';
import { smallPoolNote } from './memory/small-pool.js';

/** Best first. */
const DEFAULT_CODECS: readonly Codec[] = ['capsule-mixed', 'capsule'];

const MIB = 2 ** 20;

type WorkerConfig = Settings & { readonly id: string };

async function main(): Promise<void> {
  const settings = parseConfig({
    schema: workerConfigSchema,
    argv: process.argv.slice(2),
    env: process.env,
    name: 'kvcapsule serve worker',
  });
  const config = { ...settings, id: settings.id ?? defaultWorkerId(hostname()) };
  const logger = createLogger({ name: config.id, level: config.logLevel });
  logWarnings(logger);
  const tracing = tracingSettings(process.env);
  for (const line of [...unreadVariables(process.env, ['worker']), ...(tracing?.ignored ?? [])])
    logger.warn(line);
  const { note, ...worker } = await open(config, tracing, logger);
  superviseProcess(worker, config, logger);
  const metrics = `${String(worker.metricsUrl)}/metrics`;
  const ready = { event: 'ready', address: worker.address, metrics, note };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

/** With what its starter should know, if anything. */
async function open(
  config: WorkerConfig,
  tracing: TracingSettings | undefined,
  logger: Logger,
): Promise<Worker & { readonly note?: string | undefined }> {
  const redis = await createRedisClient(redisSettings(config), (line) => {
    logger.warn(line);
  });
  const folder = await openModelFolder(config.model);
  const metrics = createMetrics('worker');
  watchEventLoop(metrics);
  if (config.maxCpuIsa !== undefined) await limitIsa(config.maxCpuIsa, logger);
  const { engine, codec, blocks, weights } = await openNative(config, folder, metrics, logger);
  const note = smallPoolNote(blocks, engine.info);
  if (note !== undefined) logger.warn(note);
  const { version, ggml } = (await loadBinding()).buildInfo();
  if (config.metricsCompat === 'vllm') {
    const { contextTokens } = folder;
    addVllmWorkerMetrics(metrics, {
      modelName: basename(resolve(config.model)),
      engine: config.id,
      contextTokens,
    });
  }
  const worker = await startWorker({
    engine,
    codec,
    logger,
    decodeImage: (encoded, param) => decodeImage(encoded, { param, maxPixels: config.maxImagePixels }),
    imageProcessor: nameImageProcessor(engine, weights),
    registry: new RedisRegistry(redis),
    ledger: new RedisLedger(redis),
    metrics,
    tracing: await startTracing({ service: 'kvcapsule-worker', instance: config.id }, tracing, logger),
    createDetokenizer: () => folder.detokenizer(),
    stopTokenIds: new Set(folder.eosTokenIds),
    model: {
      id: basename(resolve(config.model)),
      revision: engine.modelRevision,
      processorRevision: folder.processorRevision,
      precision: `${weights}/${config.kvDtype}`,
      arithmetic: engine.arithmetic,
      engineVersion: `${version} ggml ${ggml}`,
    },
    profileId: engine.profiles
      .map(({ path, contentSha256 }) => `${basename(path)}@${contentSha256}`)
      .join(','),
    describeFormats: () => describeFormats(engine),
    config: {
      ...config,
      poolBlocks: blocks,
      swapPages: Math.floor((config.swapMib * MIB) / engine.info.pageBytes),
      encoderCacheBytes: config.encoderCacheMib * MIB,
      metricsAt: { host: config.metricsHost, port: config.metricsPort },
    },
    onReplaced: () => {
      process.exitCode = 1;
      process.kill(process.pid, 'SIGTERM');
    },
  });
  return {
    ...worker,
    note,
    close: async () => {
      await worker.close();
      await folder.dispose();
      redis.disconnect();
    },
  };
}

/** Before the engine is open, since what it computes is named after the instruction set. */
async function limitIsa(most: CpuIsa, logger: Logger): Promise<void> {
  const binding = await loadBinding();
  binding.limitIsa(most);
  const { isa } = binding.buildInfo();
  if (isa === most) logger.info({ isa }, 'kernels are limited to an instruction set');
  else
    logger.warn(
      { isa, maxCpuIsa: most },
      'the processor has less than the limit of instruction sets, which changes nothing',
    );
}

async function openNative(
  config: WorkerConfig,
  folder: ModelFolder,
  metrics: WorkerMetrics,
  logger: Logger,
): Promise<{ engine: Engine; codec: Codec; blocks: number; weights: WeightType }> {
  const profiles = config.profile.length > 0 ? config.profile : await discoverProfiles(config.model);
  const weights = weightType(config, await storedDtype(config.model));
  const settings = {
    modelDir: config.model,
    weights,
    kvDtype: config.kvDtype,
    threads: config.threads,
    maxSlots: config.maxRunning + guestSlots(config.maxRunning),
    maxStepTokens: config.maxStepTokens,
  };
  const sizes = { model: folder.specification, tiles: mostTiles(folder) };
  const openWith = async (files: readonly string[]): Promise<{ engine: Engine; blocks: number }> => {
    const need = await describeMemory({ ...settings, ...sizes, profiles: files });
    const wholeBlocks = plannedBlocks(config, need, folder.contextTokens);
    reportMemory(planMemory(config, need, wholeBlocks), metrics, logger);
    const engine = await openEngine({ ...settings, poolBlocks: wholeBlocks, profiles: files });
    return { engine, blocks: wholeBlocks };
  };
  const { engine, blocks } = await openWith(profiles).catch((error: unknown) => {
    const { codec, profile } = config;
    const needsProfiles = codec === undefined || codec.startsWith('capsule') || profile.length > 0;
    if (needsProfiles || !(error instanceof KvcError) || error.code !== 'PROFILE_INVALID') throw error;
    logger.warn({ err: error }, 'the profiles beside the model are left out');
    return openWith([]);
  });
  const codecs = servedCodecs(engine.info);
  const codec = config.codec ?? DEFAULT_CODECS.find((candidate) => codecs.includes(candidate)) ?? 'raw';
  if (!codecs.includes(codec)) {
    await engine.dispose();
    const where = config.profile.length > 0 ? 'named' : `in ${config.model}/profiles`;
    throw new KvcError('PROFILE_INVALID', `There is no profile of codec ${codec} among those ${where}.`);
  }
  logger.info({ model: config.model, codec, codecs, blocks }, 'the engine is open');
  return { engine, codec, blocks, weights };
}

/** SIGTERM and SIGINT drain; a second one, or a fault nobody caught, ends the process at once. */
function superviseProcess(worker: Worker, config: WorkerConfig, logger: Logger): void {
  const stop = (): void => {
    logger.info('draining');
    worker
      .drain(config.drainTimeoutMs)
      .then(() => worker.close())
      .then(
        () => {
          process.exit();
        },
        (error: unknown) => {
          logger.fatal({ err: error }, 'stopping failed');
          process.exit(1);
        },
      );
  };
  onEndSignals({ first: stop, again: () => process.exit(1) });
  const onFault = (error: unknown): void => {
    logger.fatal({ err: error }, 'an unexpected fault');
    worker.fail(new KvcError('INTERNAL', 'The worker has failed.', { cause: error }));
    process.exit(1);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
}

outliveClosedPipes();
outliveHangup();
main().catch((error: unknown) => {
  const message = error instanceof KvcError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`${JSON.stringify({ level: 60, name: 'worker', msg: message })}\n`);
  process.exit(1);
});
