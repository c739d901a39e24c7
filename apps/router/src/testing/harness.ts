import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { KvcError } from '@kvcapsule/contracts/errors';
import { createLogger } from '@kvcapsule/platform/logging';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp, listen } from '../app.js';
import { ModelCatalogue, type ServedModel } from '../catalogue/model-catalogue.js';
import { Fleet } from '../fleet/fleet.service.js';
import { type ChatTurn, type PreparedPrompt, PromptPreparer } from '../prepare/prompt-preparer.port.js';
import { Inflight } from '../operations/inflight.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import type { Ports } from '../ports.js';
import { Siblings } from '../processes/siblings.js';
import type { ModelSettings, Settings } from '../settings.js';
import { FakeWorker } from './fake-worker.js';
import { MemoryPorts, workerRecord } from './memory-ports.js';

const PICTURE_TOKENS = 4;

/** A token a character; a picture is four. Its URL `bad:` is refused as a broken picture. */
class CharacterPreparer extends PromptPreparer {
  readonly contextTokens = 64;

  constructor(readonly processorRevision = 'p') {
    super();
  }

  prepare(turns: readonly ChatTurn[]): Promise<PreparedPrompt> {
    const tokenIds: number[] = [];
    const pictures: PreparedPrompt['pictures'][number][] = [];
    for (const part of turns.flatMap(({ content }) => content)) {
      if (typeof part === 'string') tokenIds.push(...[...part].map((c) => c.codePointAt(0) ?? 0));
      else {
        if (part.url.toString().startsWith('bad:')) {
          return Promise.reject(
            new KvcError('IMAGE_INVALID', 'The picture is broken.', { param: part.param }),
          );
        }
        const encoded = Buffer.from(part.url.toString());
        const sha256 = createHash('sha256').update(encoded).digest();
        const span = { offset: tokenIds.length, length: PICTURE_TOKENS, markerRows: [] };
        pictures.push({ sha256, encoded, ...span, param: part.param });
        tokenIds.push(...new Array<number>(PICTURE_TOKENS).fill(0x2a));
      }
    }
    return Promise.resolve({ tokenIds, pictures });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const SETTINGS: Settings = {
  host: '127.0.0.1',
  port: 0,
  advertise: undefined,
  routerId: undefined,
  processes: 1,
  redis: { redis: '' },
  models: [modelSettings('demo', 'demo')],
  apiKeys: [],
  adminApiKeys: [],
  tenants: [],
  corsOrigins: [],
  consoleFolder: undefined,
  allowedImageHosts: [],
  maxBodyBytes: 100_000,
  headTimeoutMs: 15_000,
  bodyTimeoutMs: 20_000,
  requestTimeoutMs: 20_000,
  workerStallMs: 300_000,
  stallMs: 20_000,
  keepAliveMs: 20_000,
  windowBytes: 1_000_000,
  placementPolicy: 'cost-aware',
  placementWeights: {},
  queueEntries: 4,
  queueBytes: 10_000_000,
  queueWaitMs: 1_000,
  indexNames: 10_000,
  metricsCompat: undefined,
  tracing: undefined,
  drainMs: 300,
};

/** Folders hold the processor revision of their preparers; empty is that of the preparer that a test starts with. */
export function modelSettings(name: string, workerModelId: string, ...older: string[]): ModelSettings {
  const folders = ['', ...older].map((modelDir) => ({ modelDir, workerModelId }));
  return { name, aliases: [], isDefault: false, folders };
}

function catalogueOf({ models }: Settings, preparer: PromptPreparer): ModelCatalogue {
  return new ModelCatalogue(
    models.map(({ folders, ...model }) => {
      const [newest, ...older] = folders.map(({ modelDir, workerModelId }) => ({
        ...{ name: model.name, workerModelId },
        preparer: modelDir === '' ? preparer : new CharacterPreparer(modelDir),
      })) as [ServedModel, ...ServedModel[]];
      return { ...model, revisions: [newest, ...older] };
    }),
  );
}

/** Lines of all routers of a test. */
export const logs: string[] = [];

/** A router over fakes, listening on a port of its own. */
export class Harness {
  /** Used unless the constructor was given others. */
  readonly ports = new MemoryPorts();
  readonly workers: FakeWorker[] = [];
  app!: NestFastifyApplication;
  url = '';

  constructor(private readonly others?: Ports) {}

  async start(
    settings: Partial<Settings> = {},
    workers = 1,
    preparer: PromptPreparer = new CharacterPreparer(),
  ): Promise<this> {
    for (let i = 0; i < workers; i += 1) {
      const worker = await new FakeWorker().start();
      this.workers.push(worker);
      const { processorRevision } = preparer;
      this.ports.workers.push(workerRecord(`w${i}`, worker.address, { processorRevision }));
    }
    const logger = createLogger({ name: 'router', level: 'info' }, { write: (line) => void logs.push(line) });
    this.app = await createApp({
      settings: { ...SETTINGS, ...settings },
      ports: this.others ?? this.ports,
      catalogue: catalogueOf({ ...SETTINGS, ...settings }, preparer),
      telemetry: new Telemetry(),
      logger,
      siblings: new Siblings(),
    });
    this.url = await listen(this.app, '127.0.0.1', settings.port ?? SETTINGS.port);
    return this;
  }

  async stop(): Promise<void> {
    await this.app.close();
    for (const worker of this.workers) worker.kill();
  }

  get worker(): FakeWorker {
    const [first] = this.workers;
    if (!first) throw new Error('started without workers');
    return first;
  }

  get fleet(): Fleet {
    return this.app.get(Fleet);
  }

  get inflight(): Inflight {
    return this.app.get(Inflight);
  }

  post(body: unknown, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    });
  }

  /** A chat of one user message. */
  chat(content: unknown = 'abc', more: object = {}, init: RequestInit = {}): Promise<Response> {
    return this.post({ model: 'demo', messages: [{ role: 'user', content }], ...more }, init);
  }
}

/** Ends a hang; a busy machine may take seconds for what takes a millisecond. */
const PATIENCE_MS = 30_000;

/** Waits until it holds. */
export async function until(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`still not: ${holds.toString()}`);
    await sleep(5);
  }
}
