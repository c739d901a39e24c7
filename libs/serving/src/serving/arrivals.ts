import { nameFile, type RootContent, rootName } from '@kvcapsule/domain/identity';
import type { CacheLog } from '@kvcapsule/domain/owners';
import { namePrompt, type ScheduledRequest, type Scheduler } from '@kvcapsule/domain/scheduling';

import { type Ending, Generation } from '../generation/generation.js';
import type { GenerateRequest } from '../generation/request.js';
import { type Detokenizer, TextStream } from '../generation/text-stream.js';
import { type Offer, validateGenerate } from '../generation/validate.js';
import type { Leases } from '../leases/leases.js';
import type { PictureFeatures } from '../pictures/picture-features.js';
import type { Deadlines } from './deadlines.js';
import type { Outbox } from './effects.js';
import type { Requests } from './requests.js';

export interface ArrivalConfig extends Offer {
  /** What names of content begin with, but for the request's cache domain. */
  readonly root: Omit<RootContent, 'domain'>;
  readonly createDetokenizer: () => Detokenizer;
}

export interface ArrivalParts {
  readonly config: ArrivalConfig;
  readonly scheduler: Scheduler;
  readonly requests: Requests;
  readonly pictures: PictureFeatures;
  readonly leases: Leases;
  readonly deadlines: Deadlines;
  readonly outbox: Outbox;
  /** Others are told there what a request is about to leave here. */
  readonly log: CacheLog;
}

/** What a request goes through until the scheduler has it. */
export class Arrivals {
  #count = 0;

  constructor(private readonly parts: ArrivalParts) {}

  /** @throws KvcError for a request that is not valid; whatever fails after that ends it */
  take(key: string, request: GenerateRequest, nowMs: number): void {
    const { config, requests, deadlines } = this.parts;
    const spec = validateGenerate(request, config);
    const text = new TextStream(config.createDetokenizer(), spec.stop, spec.sampling.minTokens);
    this.#count += 1;
    const generation = new Generation(`${key}#${this.#count}`, key, spec, text);
    const ending = generation.resume(config.stopTokenIds);
    requests.add(generation);
    if (spec.remainingMs !== undefined) deadlines.set(generation.id, nowMs + spec.remainingMs);
    try {
      if (ending) this.#finish(generation, ending);
      else this.#gather(generation);
    } catch (error) {
      requests.fail(generation, error);
    }
  }

  /** Ends a request whose answer came with it whole: what is left is to say so. */
  #finish(generation: Generation, { reason, flush }: Ending): void {
    const { scheduler, requests, leases } = this.parts;
    const { lease } = generation.spec;
    if (lease) leases.decline(lease.leaseId);
    // never planned: the scheduler tells by it how the prompt is kept
    scheduler.add(this.#scheduled(generation));
    requests.finish(generation, reason, flush);
  }

  /** Takes the lease over and has the features of pictures made that are not cached, then queues the request. */
  #gather(generation: Generation): void {
    const { scheduler, requests, leases, pictures } = this.parts;
    const { id, spec } = generation;
    const request = this.#scheduled(generation);
    const cached = scheduler.cachedPictures(request);
    this.#expect(generation, request, cached);
    let missing = 2;
    const done = (error?: unknown): void => {
      missing -= 1;
      if (error !== undefined) requests.fail(generation, error);
      if (missing === 0 && !generation.ended) this.#queue(generation, request, cached);
    };
    if (spec.lease) leases.accept(id, spec.lease, done);
    else done();
    pictures.encode(generation, cached, done);
  }

  /** Of each picture that is not here, first its features and then its span. */
  #expect({ id, spec }: Generation, { content }: ScheduledRequest, cachedPictures: number): void {
    const chains = (content?.names?.units ?? []).flatMap(({ picture, name }) => {
      const shown = picture === undefined || picture < cachedPictures ? undefined : spec.pictures[picture];
      return shown ? [[nameFile(shown.contentSha256, spec.domain), name]] : [];
    });
    this.parts.log.expected(id, chains);
  }

  #queue(generation: Generation, request: ScheduledRequest, cachedPictures: number): void {
    const { scheduler, requests, outbox } = this.parts;
    try {
      scheduler.add(request, cachedPictures);
    } catch (error) {
      requests.fail(generation, error);
    }
    outbox.push({ kind: 'wake' });
  }

  #scheduled({
    id,
    spec,
    owner,
    promptTokens,
    completionTokens: answered,
    tokenIds,
  }: Generation): ScheduledRequest {
    const { root: rootContent, geometry } = this.parts.config;
    const { priority, domain, maxTokens, text, textUnderPressure } = spec;
    const root = rootName({ ...rootContent, domain });
    const pictures = spec.pictures.map((picture) => ({
      ...picture,
      content: { ...picture.form, contentSha256: picture.contentSha256 },
    }));
    const texts = { ...(text && { text }), ...(textUnderPressure && { textUnderPressure }) };
    const content = { root, tokenIds, owner };
    const request = { id, promptTokens, maxTokens, answered, pictures, priority, ...texts, content };
    return namePrompt(request, geometry);
  }
}
