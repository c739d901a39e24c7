import type { ContentOwner } from '@kvcapsule/domain/eviction';
import { type CacheDomain, type FileName, nameFile } from '@kvcapsule/domain/identity';
import type { CacheLog } from '@kvcapsule/domain/owners';
import { KvcError } from '@kvcapsule/contracts/errors';

import { EncoderCache, type Features } from './encoder-cache.js';
import { FeatureRoom } from './feature-room.js';
import { Flights, Slots } from './flights.js';
import type { PictureName } from './names.js';
import type { DecodedImage, DecodeOutcome, EncodeOutcome, PictureEffect } from './picture-effects.js';

/** Files and decoded pictures are large; so many at once fill the engine's slices. */
export const PARALLEL_PICTURES = 4;

export interface RequestedPicture {
  /** SHA-256 of the file. */
  readonly contentSha256: Uint8Array;
  readonly param: string;
  readonly imageTokens: number;
}

/** A request as far as its pictures go. */
export interface PictureUser {
  /** What its sender calls it. */
  readonly key: string;
  readonly pictures: readonly RequestedPicture[];
  readonly domain: CacheDomain;
  readonly owner: ContentOwner;
  /** Features that it has pinned, by picture. */
  readonly features: Map<number, Features>;
  readonly ended: boolean;
}

export interface PictureFeaturesOptions {
  /** Bound of the features kept, in use or not. */
  readonly cacheBytes: number;
  /** Of it: what all tenants together are sure of; 0 to 1. */
  readonly guaranteedShare: number;
  /** Bytes of one visual token's features. */
  readonly tokenBytes: number;
  readonly push: (effect: PictureEffect) => void;
  readonly lookedUp: (outcome: 'hit' | 'miss') => void;
  readonly evicted: () => void;
  /** What comes and goes is written there. */
  readonly log: CacheLog;
}

/** A picture that a request needs. */
interface Wanted {
  readonly user: PictureUser;
  readonly index: number;
  readonly picture: RequestedPicture;
  readonly file: FileName;
}

type Found = { readonly features: Features } | { readonly error: unknown };
type Got = (found: Found) => void;

/**
 * Has the features of a request's pictures made, or finds them: they are kept by the pictures' content. A picture
 * that several requests bring at one time is decoded and computed once.
 */
export class PictureFeatures {
  readonly cache: EncoderCache;
  readonly #room: FeatureRoom;
  readonly #slots = new Slots(PARALLEL_PICTURES);
  readonly #flights = new Flights();
  readonly #decoding = new Map<FileName, (outcome: DecodeOutcome) => void>();
  readonly #encoding = new Map<PictureName, (outcome: EncodeOutcome) => void>();
  /** Who wait for a file's features. */
  readonly #audiences = new Map<FileName, Set<PictureUser>>();
  /** The files of a picture that is being encoded. */
  readonly #filesOf = new Map<PictureName, Set<FileName>>();
  #computed = 0;

  constructor(private readonly options: PictureFeaturesOptions) {
    const { cacheBytes, guaranteedShare, push, evicted, log } = options;
    this.#room = new FeatureRoom(cacheBytes);
    const gone = ({ handle }: Features): void => {
      evicted();
      push({ kind: 'releaseFeatures', handle });
    };
    this.cache = new EncoderCache({ capacityBytes: cacheBytes, guaranteedShare, evicted: gone, log });
  }

  /** Pictures that the engine has encoded so far. */
  get computed(): number {
    return this.#computed;
  }

  /** Pictures that the engine encodes. */
  get underWay(): number {
    return this.#encoding.size;
  }

  /** Bytes of features that requests use or wait to make. */
  get takenBytes(): number {
    return this.#room.takenBytes;
  }

  /** Makes the features that are not there, of picture `from` and those after it; `done` tells the first failure. */
  encode(user: PictureUser, from: number, done: (error?: unknown) => void): void {
    const missing = [...user.pictures.entries()].filter(
      ([index]) => index >= from && !user.features.has(index),
    );
    if (missing.length === 0) {
      done();
      return;
    }
    const bytes = missing.reduce((sum, [, picture]) => sum + this.#bytesOf(picture), 0);
    this.#room.take(bytes, () => {
      const failures = new Map<number, unknown>();
      let left = missing.length;
      for (const [index, picture] of missing)
        this.#encodeOne(user, picture, index, (failure) => {
          if (!user.features.has(index)) this.#room.give(this.#bytesOf(picture));
          if (failure) failures.set(index, failure.error);
          left -= 1;
          if (left > 0) return;
          const first = missing.find(([at]) => failures.has(at));
          done(first && failures.get(first[0]));
        });
    });
  }

  /** Lets go of one picture's features, or of all. */
  release(user: PictureUser, index?: number): void {
    const indices = index === undefined ? [...user.features.keys()] : [index];
    for (const at of indices) {
      const features = user.features.get(at);
      const picture = user.pictures[at];
      if (!features || !picture) continue;
      user.features.delete(at);
      this.cache.unpin(features.name);
      this.#room.give(this.#bytesOf(picture));
    }
  }

  /** A user that has ended lets go of all it has, and of what is being made for it alone. */
  leave(user: PictureUser): void {
    this.release(user);
    const wanted = (file: FileName) => [...(this.#audiences.get(file) ?? [])].some(({ ended }) => !ended);
    for (const [name, files] of this.#filesOf)
      if (![...files].some(wanted)) this.options.push({ kind: 'abandonPicture', name });
  }

  /**
   * How many of a user's image tokens have features, and those of pictures under way by their share; undefined where
   * none is under way.
   * @param shareOf of a picture's layers that are computed
   */
  encodedTokens(user: PictureUser, shareOf: (name: PictureName) => number): number | undefined {
    let encoded = 0;
    let isUnderWay = false;
    for (const [index, { contentSha256, imageTokens }] of user.pictures.entries()) {
      const name = this.#nameOf(nameFile(contentSha256, user.domain));
      isUnderWay ||= name !== undefined;
      if (user.features.has(index)) encoded += imageTokens;
      else if (name !== undefined) encoded += imageTokens * shareOf(name);
    }
    return isUnderWay ? Math.floor(encoded) : undefined;
  }

  decoded(file: FileName, outcome: DecodeOutcome): void {
    const go = this.#decoding.get(file);
    this.#decoding.delete(file);
    go?.(outcome);
  }

  encoded(name: PictureName, outcome: EncodeOutcome): void {
    const go = this.#encoding.get(name);
    this.#encoding.delete(name);
    go?.(outcome);
  }

  #encodeOne(
    user: PictureUser,
    picture: RequestedPicture,
    index: number,
    settle: (failure?: { readonly error: unknown }) => void,
  ): void {
    if (user.ended) {
      settle();
      return;
    }
    const file = nameFile(picture.contentSha256, user.domain);
    this.#find({ user, index, picture, file }, (found) => {
      if ('error' in found) {
        settle(found);
        return;
      }
      const { features } = found;
      // the request may have ended while the engine computed
      const wrong = features.tokens !== picture.imageTokens;
      if (wrong || user.ended) this.cache.unpin(features.name);
      else user.features.set(index, features);
      settle(wrong ? { error: wrongTokens(features, picture) } : undefined);
    });
  }

  /** The picture's features, pinned. */
  #find(wanted: Wanted, got: Got): void {
    const { file } = wanted;
    const known = this.cache.pinFile(file);
    if (known) {
      this.options.lookedUp('hit');
      got({ features: known });
      return;
    }
    this.#audiences.set(file, (this.#audiences.get(file) ?? new Set()).add(wanted.user));
    // where the other request's work fails, this one decodes for itself, so that an error names its own part
    const again = (): void => {
      this.#find(wanted, got);
    };
    if (this.#flights.join(file, again)) return;
    const land = this.#flights.start(file);
    this.#slots.enter(() => {
      this.#make(wanted, (found) => {
        this.#audiences.delete(file);
        got(found);
        land();
        this.#slots.leave();
      });
    });
  }

  #make(wanted: Wanted, got: Got): void {
    const { user, index, picture, file } = wanted;
    if (user.ended) {
      // its file is not to be had any more: other requests for the same picture bring their own
      got({ error: requestEnded() });
      return;
    }
    const { key, domain } = user;
    this.#decoding.set(file, (outcome) => {
      if ('error' in outcome) got(outcome);
      else this.#compute(outcome.name, outcome.image, wanted, got);
    });
    this.options.push({ kind: 'decodePicture', file, key, index, param: picture.param, domain });
  }

  #compute(name: PictureName, image: DecodedImage, wanted: Wanted, got: Got): void {
    const { file } = wanted;
    const known = this.cache.pin(name, file);
    if (known) {
      this.options.lookedUp('hit');
      got({ features: known });
      return;
    }
    if (![...(this.#audiences.get(file) ?? [])].some(({ ended }) => !ended)) {
      got({ error: requestEnded() });
      return;
    }
    this.#filesOf.set(name, (this.#filesOf.get(name) ?? new Set()).add(file));
    const again = (): void => {
      this.#compute(name, image, wanted, got);
    };
    if (this.#flights.join(name, again)) return;
    const land = this.#flights.start(name);
    this.options.lookedUp('miss');
    this.#encoding.set(name, (outcome) => {
      this.#filesOf.delete(name);
      got('error' in outcome ? outcome : { features: this.#keep(outcome, wanted, name) });
      land();
    });
    this.options.push({ kind: 'encodePicture', name, image });
  }

  #keep(
    { handle, tokens }: { handle: number; tokens: number },
    { file, user }: Wanted,
    name: PictureName,
  ): Features {
    this.#computed += 1;
    const features = { name, handle, tokens, bytes: tokens * this.options.tokenBytes };
    this.cache.add(features, file, user.owner);
    return features;
  }

  /** Of the picture in a file, while it is encoded. */
  #nameOf(file: FileName): PictureName | undefined {
    for (const [name, files] of this.#filesOf) if (files.has(file)) return name;
    return undefined;
  }

  #bytesOf({ imageTokens }: RequestedPicture): number {
    return imageTokens * this.options.tokenBytes;
  }
}

function requestEnded(): KvcError {
  return new KvcError('ABORTED', 'The request has ended.');
}

function wrongTokens({ tokens }: Features, { imageTokens, param }: RequestedPicture): KvcError {
  const message = `The picture makes ${tokens} image tokens; the prompt has ${imageTokens} for it.`;
  return new KvcError('IMAGE_INVALID', message, { param });
}
