import { setImmediate as nextTurn } from 'node:timers/promises';

import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { fromWire, toWire } from '@kvcapsule/platform/worker-wire';
import {
  type Effect,
  type EngineStep,
  type PictureName,
  type Report,
  type RequestEvent,
  Serving,
} from '@kvcapsule/serving';
import { FAKE_END, FakeEngine, StepRunner } from '@kvcapsule/testing/engine';

import type { Need, Script } from './fake-worker.js';

const IMAGE_TOKEN = 0x2a;
const ROOT = { modelRevision: 'r', arithmetic: 'a', precision: 'f', imageProcessor: 'p' };

/** Two letters a token. */
export function tokenText(token: number): string {
  return String.fromCharCode(97 + (token % 8)) + String.fromCharCode(97 + (Math.floor(token / 8) % 8));
}

/**
 * A worker's real core with a fake engine behind it, for routers that should meet what workers decide. Pictures are
 * four tokens, as the harness prepares them; the ledger grants everything.
 */
export class CoreWorker {
  readonly serving: Serving;
  /** What its telemetry would hear. */
  readonly reports: Report[] = [];
  /** Of each step and picture. */
  delayMs = 0;
  readonly #engine: FakeEngine;
  readonly #runner: StepRunner;
  readonly #sinks = new Map<string, (event: RequestEvent) => void>();
  readonly #needs = new Map<string, Need>();
  #step: EngineStep | undefined;
  #pumping = false;
  #requests = 0;

  constructor({ blocks = 20, contextTokens = 64 } = {}) {
    this.#engine = new FakeEngine(blocks, [], () => this.delayMs);
    this.#runner = new StepRunner(this.#engine);
    const geometry = { ...this.#engine.info, contextTokens, vocab: 256, imageTokenId: IMAGE_TOKEN };
    this.serving = new Serving({
      ...{ geometry, poolBlocks: blocks, swapPages: 0, encoderCacheBytes: 1_000 },
      ...{ maxStepTokens: 32, maxPrefillChunk: 32, maxRunning: 4 },
      ...{ codec: 'raw', codecs: ['raw'], textUnderPressure: 'raw', stopTokenIds: new Set([FAKE_END]) },
      root: ROOT,
      createDetokenizer: () => ({
        ...{ pending: false, flush: () => '', push: tokenText, spell: tokenText },
        bytesOf: (token) => Buffer.from(tokenText(token)),
      }),
    });
  }

  /** What its record in the registry says beside its address. */
  get record(): Partial<WorkerRecord> {
    const { blockTokens, pagesPerBlock, pageBytes } = this.#engine.info;
    const { capacityPages } = this.serving.scheduler.pool;
    const load = { state: 'ready', running: 0, waiting: 0, freePages: capacityPages } as const;
    const shape = { blockTokens, pagesPerBlock, pageBytes, capacityPages, codec: 'raw' };
    return { ...shape, ...ROOT, load };
  }

  readonly script: Script = (request, say, signal, need) =>
    new Promise((resolve) => {
      const key = String((this.#requests += 1));
      this.#sinks.set(key, (event) => {
        const { event: told } = toWire(request.requestId, event);
        if (told) say(told);
        if (event.kind === 'finished' || event.kind === 'failed') resolve();
      });
      const { pictures } = request;
      this.#needs.set(key, (index) => {
        const { file } = pictures[index] ?? {};
        return file ? Promise.resolve(file) : need(index);
      });
      signal.addEventListener('abort', () => {
        this.#take(this.serving.abort(key));
      });
      this.#take(this.serving.submit(key, fromWire(request), performance.now()));
    });

  #take(effects: readonly Effect[]): void {
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: Effect): void {
    const { serving } = this;
    switch (effect.kind) {
      case 'event':
        this.#sinks.get(effect.key)?.(effect.event);
        return;
      case 'runStep':
        this.#step = effect.step;
        return;
      case 'decodePicture':
        void this.#needs
          .get(effect.key)?.(effect.index)
          .then((rgb) => {
            const name = rgb.toString('hex') as PictureName;
            this.#take(serving.pictureDecoded(effect.file, { name, image: { rgb, width: 4, height: 1 } }));
          });
        return;
      case 'encodePicture':
        void this.#engine.encodeImage(effect.image.rgb, effect.image.width).then((features) => {
          this.#take(serving.pictureEncoded(effect.name, features));
        });
        return;
      case 'acceptLease':
        queueMicrotask(() => {
          this.#take(serving.leaseAccepted(effect.id));
        });
        return;
      case 'resizeLease':
        queueMicrotask(() => {
          this.#take(serving.leaseResized(effect.id, 'set', performance.now()));
        });
        return;
      case 'wake':
        void this.#pump();
        return;
      case 'report':
        this.reports.push(effect.report);
        return;
      default:
    }
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    await nextTurn();
    this.#take(this.serving.plan(performance.now()));
    for (let step = this.#step; step; step = this.#step) {
      this.#step = undefined;
      const outcome = await this.#runner.run(step);
      this.#take(this.serving.stepLanded(step.number, outcome, performance.now()));
      await nextTurn();
      this.#take(this.serving.plan(performance.now()));
    }
    this.#pumping = false;
  }
}
