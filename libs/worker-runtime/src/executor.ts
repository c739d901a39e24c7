import { KvcError } from '@kvcapsule/contracts/errors';
import type { ImageWatch, NativeEngine } from '@kvcapsule/engine';
import { StepRunner } from '@kvcapsule/engine/plan';
import type {
  DecodedImage,
  Effect,
  GenerateRequest,
  Lease,
  PictureName,
  Progress,
  RequestEvent,
  Serving,
  StepOutcome,
} from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { LeaseKeeper } from './cluster/lease-keeper.js';
import { EngineLoop } from './native/engine-loop.js';
import type { PictureInbox } from './pictures/picture-inbox.js';
import { namePicture } from './pictures/picture-name.js';
import { PictureTime } from './pictures/picture-time.js';
import type { WorkerTelemetry } from './telemetry/worker-telemetry.js';

/** Rejects with an `IMAGE_*` code that carries the param. */
export type DecodeImage = (encoded: Uint8Array, param: string) => Promise<DecodedImage>;

/** The file of one of the request's pictures is to be sent under this ticket. */
export interface PictureNeed {
  readonly kind: 'needPicture';
  readonly ticket: string;
  readonly index: number;
}

/** What a request's sender is told. */
export type SenderEvent = RequestEvent | PictureNeed;

/** Where a request's events go. */
export type EventSink = (event: SenderEvent) => void;

export interface ExecutorParts {
  readonly serving: Serving;
  readonly engine: NativeEngine;
  readonly leases: LeaseKeeper;
  readonly pictures: PictureInbox;
  readonly decodeImage: DecodeImage;
  /** Names model and image processor in a picture's identity. */
  readonly imageProcessor: string;
  readonly telemetry: WorkerTelemetry;
  readonly logger: Logger;
}

type EffectOf<Kind extends Effect['kind']> = Extract<Effect, { readonly kind: Kind }>;

/** setTimeout's limit. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Carries out what the core decides (engine, pictures, ledger, timers, events) and tells it what came of it. */
export class Executor {
  readonly #parts: ExecutorParts;
  readonly #core: Serving;
  readonly #runner: StepRunner;
  readonly #loop: EngineLoop<StepOutcome>;
  readonly #sinks = new Map<string, EventSink>();
  /** Pictures that the engine is at. */
  readonly #watches = new Map<PictureName, ImageWatch>();
  readonly #pictureTime = new PictureTime();
  /** Whose request a picture was decoded for last; until that ends. */
  readonly #asked = new Map<PictureName, string>();
  readonly #drains = new Map<string, (aborted: number) => void>();
  #drained = 0;
  /** Whose lease its router has given back. */
  #losing: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
    this.#core = parts.serving;
    this.#runner = new StepRunner(parts.engine);
    const core = this.#core;
    this.#loop = new EngineLoop<StepOutcome>({
      plan: () => {
        this.#carryOut(core.plan(performance.now()));
      },
      landed: (number, outcome) => {
        const nowMs = performance.now();
        this.#pictureTime.stepEnds(nowMs);
        this.#carryOut(core.stepLanded(number, outcome, nowMs));
      },
      failed: (number, error) => {
        this.#pictureTime.stepEnds(performance.now());
        this.#carryOut(core.stepFailed(number, error));
      },
    });
  }

  start(): void {
    this.#ended = this.#loop.run().catch((error: unknown) => {
      this.#carryOut(this.#core.lose(error));
    });
  }

  /** Ends the loop after the steps under way; running requests fail with `DRAINING`. */
  async stop(): Promise<void> {
    this.#loop.stop();
    await this.#ended;
    this.#carryOut(this.#core.stop());
    clearTimeout(this.#timer);
  }

  /**
   * @param key of no other request that has not had its last event
   * @param traceparent of its sender's span, where it is recorded
   * @param files those of the request's pictures that came with it, by their index
   */
  submit(
    key: string,
    request: GenerateRequest,
    files: readonly (Buffer | undefined)[],
    sink: EventSink,
    traceparent?: string,
  ): void {
    this.#sinks.set(key, sink);
    this.#parts.telemetry.submitted(key, traceparent);
    this.#parts.pictures.bring(key, files);
    this.#carryOut(this.#core.submit(key, request, performance.now()));
  }

  /** How far the engine is, and with the prompts of these requests. */
  progress(keys: Iterable<string>): Progress {
    return this.#core.progress(keys, (name) => this.#watches.get(name)?.share() ?? 0);
  }

  abort(key: string): void {
    this.#carryOut(this.#core.abort(key));
  }

  /** Refuses new requests; resolves when the last one has ended or the time is over, to how many were aborted. */
  drain(timeoutMs: number): Promise<number> {
    this.#drained += 1;
    const ticket = `drain ${this.#drained}`;
    return new Promise((resolve) => {
      this.#drains.set(ticket, resolve);
      this.#carryOut(this.#core.drain(ticket, performance.now() + timeoutMs));
    });
  }

  /** Whether new requests are taken; false where that is not to be changed any more. */
  setAdmission(isOpen: boolean): boolean {
    return this.#core.setAdmission(isOpen);
  }

  /** This process has been replaced, or cannot go on: nothing more is served. */
  fail(error: KvcError): void {
    this.#carryOut(this.#core.fail(error));
  }

  /** The ledger has given back what this request's pages were reserved under. */
  loseLease(id: string, error: KvcError): void {
    this.#losing = id;
    this.#carryOut(this.#core.leaseLost(id, error));
    this.#losing = undefined;
  }

  #carryOut(effects: readonly Effect[]): void {
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: Effect): void {
    const { leases, telemetry } = this.#parts;
    switch (effect.kind) {
      case 'event':
        this.#send(effect);
        return;
      case 'runStep':
        this.#pictureTime.stepBegins(performance.now());
        this.#loop.launch(effect.step.number, this.#runner.run(effect.step));
        return;
      case 'closeSlots':
        this.#closeSlots(effect);
        return;
      case 'forgetPages':
        this.#runner.forget(effect.id);
        return;
      case 'decodePicture':
        void this.#decode(effect);
        return;
      case 'encodePicture':
        void this.#encode(effect);
        return;
      case 'abandonPicture':
        this.#watches.get(effect.name)?.cancel();
        return;
      case 'releaseFeatures':
        this.#releaseFeatures(effect.handle);
        return;
      case 'acceptLease':
        void this.#accept(effect.id, effect.lease);
        return;
      case 'resizeLease':
        void leases.resize(effect.id, effect.pages).then((outcome) => {
          telemetry.metrics.leaseResizes.inc({ outcome });
          this.#carryOut(this.#core.leaseResized(effect.id, outcome, performance.now()));
        });
        return;
      case 'releaseLease':
        telemetry.metrics.leasesEnded.inc({ how: effect.id === this.#losing ? 'lost' : 'released' });
        void leases.release(effect.id);
        return;
      case 'declineLease':
        telemetry.metrics.leasesEnded.inc({ how: 'declined' });
        void leases.decline(effect.leaseId);
        return;
      case 'wake':
        this.#loop.wake();
        return;
      case 'wakeAt':
        this.#wakeAt(effect.atMs);
        return;
      case 'drained':
        this.#drains.get(effect.ticket)?.(effect.aborted);
        this.#drains.delete(effect.ticket);
        return;
      case 'report':
        telemetry.observe(effect.report);
        return;
    }
  }

  #send({ key, event }: EffectOf<'event'>): void {
    const sink = this.#sinks.get(key);
    this.#parts.telemetry.told(key, event);
    if (event.kind === 'finished' || event.kind === 'failed') {
      this.#sinks.delete(key);
      this.#parts.pictures.cancel(key);
      for (const [name, asked] of this.#asked) if (asked === key) this.#asked.delete(name);
    }
    sink?.(event);
  }

  #closeSlots({ slots }: EffectOf<'closeSlots'>): void {
    void this.#runner.closeSlots(slots).then(() => {
      this.#carryOut(this.#core.slotsClosed());
    });
  }

  async #decode({ file, key, index, param, domain }: EffectOf<'decodePicture'>): Promise<void> {
    const { decodeImage, imageProcessor, pictures } = this.#parts;
    const sink = this.#sinks.get(key);
    const { telemetry } = this.#parts;
    const beganMs = performance.now();
    const outcome = await outcomeOf(async () => {
      // an event before this effect may have found the stream broken, which aborts its requests
      if (!sink) throw new KvcError('ABORTED', 'The request has ended.');
      const encoded = await pictures.receive(key, { index, param }, (ticket) => {
        sink({ kind: 'needPicture', ticket, index });
      });
      const image = await decodeImage(encoded, param);
      return { name: await namePicture(image, imageProcessor, domain), image };
    });
    if ('image' in outcome) {
      telemetry.metrics.pictureDecode.observe((performance.now() - beganMs) / 1_000);
      telemetry.pictured(key, 'decode', beganMs);
      this.#asked.set(outcome.name, key);
    }
    this.#carryOut(this.#core.pictureDecoded(file, outcome));
  }

  async #encode({ name, image: { rgb, width, height } }: EffectOf<'encodePicture'>): Promise<void> {
    const { engine, telemetry } = this.#parts;
    const stop = telemetry.metrics.pictureEncode.startTimer();
    const beganMs = performance.now();
    const watch = engine.watchImage();
    this.#watches.set(name, watch);
    this.#pictureTime.begin(name, performance.now());
    const outcome = await outcomeOf(() => engine.encodeImage(rgb, width, height, watch));
    this.#watches.delete(name);
    const seconds = this.#pictureTime.end(name, performance.now());
    const key = this.#asked.get(name);
    if (key !== undefined) telemetry.pictured(key, 'encode', beganMs);
    if ('handle' in outcome) stop();
    const measured = 'handle' in outcome ? { ...outcome, seconds } : outcome;
    this.#carryOut(this.#core.pictureEncoded(name, measured));
  }

  #releaseFeatures(handle: number): void {
    const { engine, logger } = this.#parts;
    engine.releaseImage(handle).catch((error: unknown) => {
      // a disposed engine has let go of everything
      if (error instanceof KvcError && error.code === 'DRAINING') return;
      logger.warn({ err: error }, 'picture features were not released');
    });
  }

  async #accept(id: string, lease: Lease): Promise<void> {
    const error = await this.#parts.leases.accept(id, lease).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const kind = lease.provisional === true ? 'provisional' : 'reserved';
    const outcome = error === undefined ? 'taken' : 'refused';
    this.#parts.telemetry.metrics.leases.inc({ kind, outcome });
    this.#carryOut(this.#core.leaseAccepted(id, error));
  }

  #wakeAt(atMs: number): void {
    clearTimeout(this.#timer);
    // where this is too early the core asks again
    const waitMs = Math.min(Math.max(atMs - performance.now(), 0), MAX_TIMEOUT_MS);
    this.#timer = setTimeout(() => {
      this.#carryOut(this.#core.expire(performance.now()));
    }, waitMs);
  }
}

/** What a task gives, or its failure as a value. */
async function outcomeOf<T>(task: () => Promise<T>): Promise<T | { readonly error: unknown }> {
  try {
    return await task();
  } catch (error) {
    return { error };
  }
}
