import {
  FAKE_END,
  FAKE_IMAGE_TOKEN,
  FakeEngine,
  type FakeFormat,
  StepRunner,
} from '@kvcapsule/testing/engine';
import { expect } from 'vitest';

import type { GenerateRequest } from '../generation/request.js';
import type { RequestedSampling } from '../generation/sampling.js';
import type { PictureName } from '../pictures/names.js';
import type { Effect, Report, RequestEvent } from '../serving/effects.js';
import { Serving, type ServingConfig } from '../serving/serving.js';

/** Something that the surroundings owe the core. */
type Owed = () => Promise<readonly Effect[]>;

export interface DriverOptions {
  readonly blocks: number;
  readonly formats?: readonly FakeFormat[];
  readonly config?: Partial<ServingConfig>;
  /** Whether a piece of work fails, by its count. */
  readonly fails?: (count: number) => boolean;
}

/** Answers after which nothing that is worth waiting for can be left. */
const MOST_ANSWERS = 10_000;

/** A picture: marker, image tokens, marker. Its hash begins with the number of its tokens and what it shows. */
export function requestOf(
  requestId: string,
  parts: readonly (readonly number[] | { readonly tokens: number; readonly mark: number })[],
  more: Partial<GenerateRequest> = {},
): GenerateRequest {
  const tokenIds: number[] = [];
  const pictures: GenerateRequest['pictures'][number][] = [];
  for (const part of parts) {
    if (!('tokens' in part)) {
      tokenIds.push(...part);
      continue;
    }
    const contentSha256 = new Uint8Array(32);
    contentSha256.set([part.tokens, part.mark]);
    pictures.push({ offset: tokenIds.length, length: part.tokens + 2, param: 'p', contentSha256 });
    tokenIds.push(5, ...Array.from({ length: part.tokens }, () => FAKE_IMAGE_TOKEN), 6);
  }
  return {
    ...{ requestId, tokenIds, pictures, maxTokens: 12, stop: [], kvCodec: '', priority: 0, cacheSalt: '' },
    resumedTokenIds: [],
    ...more,
  };
}

/** Token `tokenId` is drawn, whatever the engine's state. */
export function forced(tokenId: number, more: Partial<RequestedSampling> = {}): RequestedSampling {
  return {
    ...{ temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, presencePenalty: 0, frequencyPenalty: 0 },
    ...{ repetitionPenalty: 1, logitBias: [{ tokenId, bias: 100 }], minTokens: 0, ignoreEos: false },
    ...more,
  };
}

/** A lease of eight pages, as part of a request. */
export const lease = (leaseId: string) => ({ lease: { leaseId, epoch: 1n, pages: 8 } });

/** What kinds of events a request has been told. */
export const kindsOf = (driver: CoreDriver, key: string): RequestEvent['kind'][] =>
  (driver.events.get(key) ?? []).map(({ kind }) => kind);

/** Throws where a core whose requests have all ended still holds something for one. */
export function expectNothingLeft({ serving, leases, engine }: CoreDriver): void {
  const { scheduler, pictures } = serving;
  expect(scheduler.pool.freePages).toBe(scheduler.pool.capacityPages);
  expect([serving.running, serving.waiting, pictures.takenBytes, leases.size]).toEqual([0, 0, 0, 0]);
  expect(engine.images.size).toBe(pictures.cache.pictures);
}

/** Surroundings of a core that answer in any order, one answer a call. Time stands still unless it is set. */
export class CoreDriver {
  readonly engine: FakeEngine;
  readonly serving: Serving;
  readonly events = new Map<string, RequestEvent[]>();
  readonly reports: Report[] = [];
  readonly drained = new Map<string, number>();
  /** Leases that the ledger counts as taken over. */
  readonly leases = new Set<string>();
  readonly declined: string[] = [];
  /** Pages that a lease was to have, in the order they were asked for. */
  readonly resizes: number[] = [];
  nowMs = 0;
  wakeAtMs = Infinity;
  mostSteps = 0;
  readonly #runner: StepRunner;
  readonly #steps: Owed[] = [];
  readonly #others: Owed[] = [];
  /** Those that have not ended. */
  readonly #requests = new Map<string, GenerateRequest>();
  readonly #fails: (count: number) => boolean;
  #count = 0;

  constructor({ blocks, formats, config, fails = () => false }: DriverOptions) {
    this.engine = new FakeEngine(blocks, formats);
    this.#runner = new StepRunner(this.engine);
    this.#fails = fails;
    this.serving = new Serving({
      ...{ geometry: this.engine.info, poolBlocks: blocks, swapPages: 0, encoderCacheBytes: 600 },
      ...{ maxStepTokens: 40, maxPrefillChunk: 20, maxRunning: 4 },
      root: { modelRevision: 'm', arithmetic: 'a', precision: 'f', imageProcessor: 'p' },
      stopTokenIds: new Set([FAKE_END]),
      createDetokenizer: () => ({
        ...{ pending: false, flush: () => '', bytesOf: () => undefined },
        ...{ push: (token: number) => `${token} `, spell: (token: number) => `${token} ` },
      }),
      ...{ codec: 'raw', codecs: ['raw'], textUnderPressure: 'raw' },
      ...config,
    });
  }

  submit(key: string, request: GenerateRequest, nowMs: number): void {
    this.#requests.set(key, request);
    this.take(this.serving.submit(key, request, nowMs));
  }

  /** Answers that are owed and may come now: the engine runs steps in order. */
  get owed(): number {
    return Math.min(1, this.#steps.length) + this.#others.length;
  }

  /** Lets one of the owed answers come. */
  async answer(which: number): Promise<void> {
    const at = which % this.owed;
    const [owed] = at < this.#others.length ? this.#others.splice(at, 1) : this.#steps.splice(0, 1);
    if (owed) this.take(await owed());
  }

  /** Plans and answers until nothing is left to do. */
  async settle(): Promise<void> {
    for (let left = MOST_ANSWERS; left > 0; left -= 1) {
      this.take(this.serving.plan(this.nowMs));
      if (this.owed === 0) return;
      await this.answer(0);
    }
    throw new Error('there is no end of it');
  }

  /** Plans and answers until it has come. */
  async until(hasCome: () => boolean): Promise<void> {
    for (let left = MOST_ANSWERS; left > 0 && !hasCome(); left -= 1) {
      this.take(this.serving.plan(this.nowMs));
      if (this.owed === 0) break;
      await this.answer(0);
    }
    if (!hasCome()) throw new Error('it does not come');
  }

  take(effects: readonly Effect[]): void {
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: Effect): void {
    const { serving, engine } = this;
    switch (effect.kind) {
      case 'event':
        this.events.set(effect.key, [...(this.events.get(effect.key) ?? []), effect.event]);
        if (effect.event.kind === 'finished' || effect.event.kind === 'failed')
          this.#requests.delete(effect.key);
        return;
      case 'runStep': {
        const { number } = effect.step;
        const outcome = this.#attempt(() => this.#runner.run(effect.step));
        this.#steps.push(async () => {
          const { value, error } = await outcome;
          return value ? serving.stepLanded(number, value, this.nowMs) : serving.stepFailed(number, error);
        });
        this.mostSteps = Math.max(this.mostSteps, this.#steps.length);
        return;
      }
      case 'closeSlots':
        this.#others.push(async () => {
          await this.#runner.closeSlots(effect.slots);
          return serving.slotsClosed();
        });
        return;
      case 'decodePicture': {
        const { key, index, domain } = effect;
        const request = this.#requests.get(key);
        const [width = 0, mark = 0] = request?.pictures[index]?.contentSha256 ?? [];
        if (width === 0) throw new Error('a picture is wanted of a request that is not here');
        const name = `${domain}/${width}/${mark}` as PictureName;
        const image = { rgb: Uint8Array.of(mark), width, height: 1 };
        this.#others.push(async () => {
          const here = this.#requests.get(key) === request;
          const { value, error } = await this.#attempt(() =>
            here ? Promise.resolve({ name, image }) : Promise.reject(new Error('its request has ended')),
          );
          return serving.pictureDecoded(effect.file, value ?? { error });
        });
        return;
      }
      case 'encodePicture':
        this.#others.push(async () => {
          const { rgb, width } = effect.image;
          const { value, error } = await this.#attempt(() => engine.encodeImage(rgb, width));
          return serving.pictureEncoded(effect.name, value ?? { error });
        });
        return;
      case 'releaseFeatures':
        void engine.releaseImage(effect.handle);
        return;
      case 'acceptLease':
        this.leases.add(effect.id);
        this.#others.push(async () => {
          const { value, error } = await this.#attempt(() => Promise.resolve('taken'));
          if (!value) this.leases.delete(effect.id);
          return serving.leaseAccepted(effect.id, value ? undefined : error);
        });
        return;
      case 'resizeLease':
        this.resizes.push(effect.pages);
        this.#others.push(() => Promise.resolve(serving.leaseResized(effect.id, 'set', this.nowMs)));
        return;
      case 'releaseLease':
        this.leases.delete(effect.id);
        return;
      case 'wakeAt':
        this.wakeAtMs = effect.atMs;
        return;
      case 'drained':
        this.drained.set(effect.ticket, effect.aborted);
        return;
      case 'report':
        this.reports.push(effect.report);
        return;
      case 'forgetPages':
        this.#runner.forget(effect.id);
        return;
      case 'declineLease':
        this.declined.push(effect.leaseId);
        return;
      case 'wake':
    }
  }

  async #attempt<T>(work: () => Promise<T>): Promise<{ value?: T; error?: unknown }> {
    this.#count += 1;
    if (this.#fails(this.#count)) return { error: new Error('it failed') };
    return work().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
  }
}
