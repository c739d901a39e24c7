import { KvcError } from '@kvcapsule/contracts/errors';
import type { NativeEngine } from '@kvcapsule/engine';
import type { Logger } from 'pino';

import type { Generation, GenerationPicture } from './generation.js';
import { Limiter } from './limiter.js';

/** Upright 8-bit RGB, `[height][width][3]`. */
export interface DecodedImage {
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** Rejects with an `IMAGE_*` code that carries the param. */
export type DecodeImage = (encoded: Uint8Array, param: string) => Promise<DecodedImage>;

/** Decoded pictures are large, and the engine computes one thing at a time: more at once would only wait. */
const PARALLEL_PICTURES = 2;

/** Makes the features of a request's pictures in the engine, and lets go of them. */
export class PictureEncoder {
  readonly #limiter = new Limiter(PARALLEL_PICTURES);

  constructor(
    private readonly engine: NativeEngine,
    private readonly decode: DecodeImage,
    private readonly logger: Logger,
  ) {}

  /** Makes the features that are not there. Rejects with `IMAGE_*` or the engine's error. */
  async encode(generation: Generation): Promise<void> {
    const missing = generation.spec.pictures
      .map((picture, index) => ({ picture, index }))
      .filter(({ index }) => !generation.imageHandles.has(index));
    const settled = await Promise.allSettled(
      missing.map(({ picture, index }) =>
        this.#limiter.run(async () => {
          if (!generation.ended) await this.#encodeOne(generation, picture, index);
        }),
      ),
    );
    const failure = settled.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
  }

  /** Lets go of one picture's features, or of all. */
  release(generation: Generation, index?: number): void {
    const indices = index === undefined ? [...generation.imageHandles.keys()] : [index];
    for (const picture of indices) {
      const handle = generation.imageHandles.get(picture);
      if (handle === undefined) continue;
      generation.imageHandles.delete(picture);
      this.#releaseHandle(handle);
    }
  }

  async #encodeOne(generation: Generation, picture: GenerationPicture, index: number): Promise<void> {
    const { rgb, width, height } = await this.decode(picture.encoded, picture.param);
    const { handle, tokens } = await this.engine.encodeImage(rgb, width, height);
    if (tokens !== picture.imageTokens) {
      this.#releaseHandle(handle);
      const message = `The picture makes ${tokens} image tokens; the prompt has ${picture.imageTokens} for it.`;
      throw new KvcError('IMAGE_INVALID', message, { param: picture.param });
    }
    // the request may have ended while the engine computed
    if (generation.ended) this.#releaseHandle(handle);
    else generation.imageHandles.set(index, handle);
  }

  #releaseHandle(handle: number): void {
    this.engine.releaseImage(handle).catch((error: unknown) => {
      // a disposed engine has let go of everything
      if (error instanceof KvcError && error.code === 'DRAINING') return;
      this.logger.warn({ err: error }, 'picture features were not released');
    });
  }
}
