import type { CacheDomain, FileName } from '@kvcapsule/domain/identity';

import type { PictureName } from './names.js';

/** Upright 8-bit RGB, `[height][width][3]`. */
export interface DecodedImage {
  readonly rgb: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** What is to be done with pictures. */
export type PictureEffect =
  /**
   * The pixels of a request's picture and their name in this cache domain are wanted; the request's sender has the
   * file. Answered by `pictureDecoded`, with an error where the request ends before the file is there.
   */
  | {
      readonly kind: 'decodePicture';
      readonly file: FileName;
      /** What the request's sender calls it. */
      readonly key: string;
      /** Of the request's pictures. */
      readonly index: number;
      /** The content part that an error names. */
      readonly param: string;
      readonly domain: CacheDomain;
    }
  /** Features are wanted. Answered by `pictureEncoded`. */
  | { readonly kind: 'encodePicture'; readonly name: PictureName; readonly image: DecodedImage }
  /** Nobody wants the features any more that are being made; `pictureEncoded` still comes, be it with an error. */
  | { readonly kind: 'abandonPicture'; readonly name: PictureName }
  | { readonly kind: 'releaseFeatures'; readonly handle: number };

export type DecodeOutcome =
  { readonly name: PictureName; readonly image: DecodedImage } | { readonly error: unknown };

export type EncodeOutcome =
  | {
      readonly handle: number;
      readonly tokens: number;
      /** That the engine computed at it; absent where nobody knows. */
      readonly seconds?: number;
    }
  | { readonly error: unknown };
