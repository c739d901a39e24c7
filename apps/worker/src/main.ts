import { basename, resolve } from 'node:path';

import { KvcError } from '@kvcapsule/contracts/errors';
import { discoverProfiles, type Engine, loadBinding, modelGeometry, openEngine } from '@kvcapsule/engine';
import { openModelFolder } from '@kvcapsule/model';
import { decodeImage } from '@kvcapsule/multimodal';
import { parseConfig } from '@kvcapsule/platform/config';
import { createLogger, type Logger } from '@kvcapsule/platform/logging';
import { createRedisClient, RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { createMetrics } from '@kvcapsule/platform/telemetry';

import { type WorkerConfig, workerConfigSchema } from './config.js';
import { nameImageProcessor } from './pictures/image-processor.js';
import { poolBlocks } from './pool-size.js';
import { startWorker, type Worker } from './worker.js';

async function main(): Promise<void> {
  const config = parseConfig({
    schema: workerConfigSchema,
    argv: process.argv.slice(2),
    env: process.env,
    name: 'kvcapsule serve worker',
  });
  const logger = createLogger({ name: config.id, level: config.logLevel });
  const worker = await open(config, logger);
  superviseProcess(worker, config, logger);
  const ready = { event: 'ready', address: worker.address, metrics: `${worker.metricsUrl}/metrics` };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

async function open(config: WorkerConfig, logger: Logger): Promise<Worker> {
  const redis = await createRedisClient(config.redis);
  const folder = await openModelFolder(config.model);
  const { engine, codec, blocks } = await openNative(config, logger);
  const { version, ggml } = (await loadBinding()).buildInfo();
  const worker = await startWorker({
    engine,
    codec,
    logger,
    decodeImage: (encoded, param) => decodeImage(encoded, { param, maxPixels: config.maxImagePixels }),
    imageProcessor: await nameImageProcessor(config.model, engine.modelRevision, config.weights),
    registry: new RedisRegistry(redis),
    ledger: new RedisLedger(redis),
    metrics: createMetrics('worker'),
    createDetokenizer: () => folder.detokenizer(),
    stopTokenIds: new Set(folder.eosTokenIds),
    model: {
      id: basename(resolve(config.model)),
      revision: engine.modelRevision,
      engineVersion: `${version} ggml ${ggml}`,
    },
    profileId: engine.profiles
      .map(({ path, contentSha256 }) => `${basename(path)}@${contentSha256}`)
      .join(','),
    config: { ...config, poolBlocks: blocks, encoderCacheBytes: config.encoderCacheMib * 2 ** 20 },
    onReplaced: () => {
      process.exitCode = 1;
      process.kill(process.pid, 'SIGTERM');
    },
  });
  return {
    ...worker,
    close: async () => {
      await worker.close();
      await folder.dispose();
      redis.disconnect();
    },
  };
}

async function openNative(
  config: WorkerConfig,
  logger: Logger,
): Promise<{ engine: Engine; codec: 'raw' | 'capsule'; blocks: number }> {
  const named = config.profile.length > 0 ? config.profile : await discoverProfiles(config.model);
  const codec = config.codec ?? (named.length > 0 ? 'capsule' : 'raw');
  if (codec === 'capsule' && named.length === 0) {
    throw new KvcError(
      'PROFILE_INVALID',
      `There is no profile in ${config.model}/profiles and none is named.`,
    );
  }
  const blocks = poolBlocks(config.poolMib, await modelGeometry(config.model), config.kvDtype);
  const engine = await openEngine({
    modelDir: config.model,
    weights: config.weights,
    kvDtype: config.kvDtype,
    threads: config.threads,
    poolBlocks: blocks,
    maxSlots: config.maxRunning,
    maxStepTokens: config.maxStepTokens,
    profiles: codec === 'capsule' ? named : [],
  });
  const covered = engine.info.formats.map(({ tokens }) => tokens).filter((tokens) => tokens > 0);
  logger.info({ model: config.model, codec, blocks, covered }, 'the engine is open');
  return { engine, codec, blocks };
}

/** SIGTERM and SIGINT drain; a second one, or a fault nobody caught, ends the process at once. */
function superviseProcess(worker: Worker, config: WorkerConfig, logger: Logger): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) process.exit(1);
    stopping = true;
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
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  const onFault = (error: unknown): void => {
    logger.fatal({ err: error }, 'an unexpected fault');
    worker.serving.fail(new KvcError('INTERNAL', 'The worker has failed.', { cause: error }));
    process.exit(1);
  };
  process.on('uncaughtException', onFault);
  process.on('unhandledRejection', onFault);
}

main().catch((error: unknown) => {
  const message = error instanceof KvcError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`${JSON.stringify({ level: 60, name: 'worker', msg: message })}\n`);
  process.exit(1);
});
