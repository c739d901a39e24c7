import { KvcError } from '@kvcapsule/contracts/errors';
import type { NativeEngine } from '@kvcapsule/engine';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';
import { EncoderCache, FeatureRoom, type Features, type FileName } from '@kvcapsule/serving';
import type { Logger } from 'pino';

import type { Generation, GenerationPicture } from '../generation/generation.js';
import { Limiter } from './limiter.js';
import { nameFile, namePicture } from './picture-name.js';

/** Upright 8-bit RGB, `[height][width][3]`. */
export interface DecodedImage {
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Rejects with an `IMAGE_*` code that carries the param. */
export type DecodeImage = (encoded: Uint8Array, param: string) => Promise<DecodedImage>;

/** Decoded pictures are large; so many at once fill the engine's slices. */
export const PARALLEL_PICTURES = 4;

export interface PictureEncoderOptions {
  readonly engine: NativeEngine;
  readonly decodeImage: DecodeImage;
  /** Names model and image processor in a picture's identity. */
  readonly imageProcessor: string;
  /** Bound of the features kept, in use or not. */
  readonly encoderCacheBytes: number;
  readonly metrics: WorkerMetrics;
  readonly logger: Logger;
}

/**
 * Makes the features of a request's pictures in the engine, or finds them there: they are kept by the pictures'
 * content. A picture that several requests bring at one time is decoded and computed once.
 */
export class PictureEncoder {
  readonly cache: EncoderCache;
  readonly #room: FeatureRoom;
  readonly #limiter = new Limiter(PARALLEL_PICTURES);
  #encoded = 0;
  /** Work under way, by what it will have made. */
  readonly #flights = new Map<string, Promise<unknown>>();

  constructor(private readonly options: PictureEncoderOptions) {
    const { encoderCacheBytes, metrics } = options;
    this.#room = new FeatureRoom(encoderCacheBytes);
    this.cache = new EncoderCache(encoderCacheBytes, ({ handle }) => {
      metrics.encoderCacheEvictions.inc();
      this.#releaseHandle(handle);
    });
  }

  /** Pictures the engine has encoded since the process began. */
  get encoded(): number {
    return this.#encoded;
  }

  /** Bytes of features that requests use or wait to make. */
  get takenBytes(): number {
    return this.#room.takenBytes;
  }

  /** Makes the features that are not there, of picture `from` and those after it. Rejects with `IMAGE_*` or the engine's error. */
  async encode(generation: Generation, from = 0): Promise<void> {
    const missing = generation.spec.pictures
      .map((picture, index) => ({ picture, index }))
      .filter(({ index }) => index >= from && !generation.features.has(index));
    if (missing.length === 0) return;
    await this.#room.take(missing.reduce((sum, { picture }) => sum + this.#bytesOf(picture), 0));
    const settled = await Promise.allSettled(
      missing.map(async ({ picture, index }) => {
        try {
          await this.#encodeOne(generation, picture, index);
        } finally {
          if (!generation.features.has(index)) this.#room.give(this.#bytesOf(picture));
        }
      }),
    );
    const failure = settled.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
  }

  /** Lets go of one picture's features, or of all. */
  release(generation: Generation, index?: number): void {
    const indices = index === undefined ? [...generation.features.keys()] : [index];
    for (const at of indices) {
      const features = generation.features.get(at);
      const picture = generation.spec.pictures[at];
      if (!features || !picture) continue;
      generation.features.delete(at);
      this.cache.unpin(features.name);
      this.#room.give(this.#bytesOf(picture));
    }
  }

  async #encodeOne(generation: Generation, picture: GenerationPicture, index: number): Promise<void> {
    if (generation.ended) return;
    const features = await this.#features(picture, generation.spec.cacheSalt);
    // the request may have ended while the engine computed
    const wrong = features.tokens !== picture.imageTokens;
    if (wrong || generation.ended) this.cache.unpin(features.name);
    else generation.features.set(index, features);
    if (!wrong) return;
    const message = `The picture makes ${features.tokens} image tokens; the prompt has ${picture.imageTokens} for it.`;
    throw new KvcError('IMAGE_INVALID', message, { param: picture.param });
  }

  /** The picture's features, pinned. */
  async #features(picture: GenerationPicture, cacheSalt: string): Promise<Features> {
    const { metrics } = this.options;
    const file = await nameFile(picture.encoded, cacheSalt);
    for (;;) {
      const known = this.cache.pinFile(file);
      if (known) {
        metrics.encoderCacheLookups.inc({ outcome: 'hit' });
        return known;
      }
      const flight = this.#flights.get(file);
      if (!flight)
        return this.#fly(file, () => this.#limiter.run(() => this.#make(picture, file, cacheSalt)));
      // where it fails this request finds out by itself, with its own part named
      await flight.catch(() => undefined);
    }
  }

  async #make({ encoded, param }: GenerationPicture, file: FileName, cacheSalt: string): Promise<Features> {
    const { engine, decodeImage, imageProcessor, metrics } = this.options;
    const image = await decodeImage(encoded, param);
    const name = await namePicture(image, imageProcessor, cacheSalt);
    for (;;) {
      const known = this.cache.pin(name, file);
      if (known) {
        metrics.encoderCacheLookups.inc({ outcome: 'hit' });
        return known;
      }
      const flight = this.#flights.get(name);
      if (flight) {
        await flight.catch(() => undefined);
        continue;
      }
      return this.#fly(name, async () => {
        metrics.encoderCacheLookups.inc({ outcome: 'miss' });
        const stop = metrics.pictureEncode.startTimer();
        const { handle, tokens } = await engine.encodeImage(image.rgb, image.width, image.height);
        stop();
        this.#encoded += 1;
        const bytes = tokens * engine.info.featureBytes;
        const features = { name, handle, tokens, bytes };
        this.cache.add(features, file);
        return features;
      });
    }
  }

  async #fly<T>(key: string, work: () => Promise<T>): Promise<T> {
    const flight = work();
    this.#flights.set(key, flight);
    try {
      return await flight;
    } finally {
      this.#flights.delete(key);
    }
  }

  #bytesOf({ imageTokens }: GenerationPicture): number {
    return imageTokens * this.options.engine.info.featureBytes;
  }

  #releaseHandle(handle: number): void {
    this.options.engine.releaseImage(handle).catch((error: unknown) => {
      // a disposed engine has let go of everything
      if (error instanceof KvcError && error.code === 'DRAINING') return;
      this.options.logger.warn({ err: error }, 'picture features were not released');
    });
  }
}
