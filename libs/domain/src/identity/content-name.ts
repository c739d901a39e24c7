import type { CacheDomain } from './cache-domain.js';
import { type Field, hashFields, Tag } from './fields.js';

/**
 * Names the keys and values of one piece of a sequence: SHA-256, in hex, over all that they depend on. Equal names
 * mean equal keys and values, bit for bit, on whichever worker. A hash of a picture's bytes is not one, nor is a
 * block's number.
 */
export type ContentName = string & { readonly __brand: 'ContentName' };

/** What everything in a sequence depends on. */
export interface RootContent {
  readonly modelRevision: string;
  /** Backend, instruction-set class and kernel revision: with others the last bits are others. */
  readonly arithmetic: string;
  /** Types of the weights and of raw rows: with others the values are others. */
  readonly precision: string;
  /** Turns a picture's file into what the model sees. */
  readonly imageProcessor: string;
  /** Who may find this content. */
  readonly domain: CacheDomain;
}

/** How a picture's span or a run of text is kept: what later tokens attend to. */
export interface SpanForm {
  /** `raw`, or the codec of a format. */
  readonly codec: string;
  /** Name and hash of the profile; empty where there is none. */
  readonly profileId: string;
}

export interface PictureContent extends SpanForm {
  /** SHA-256 over the encoded picture. */
  readonly contentSha256: Uint8Array;
}

/** The name before the first token. */
export function rootName(root: RootContent): ContentName {
  return nameOf(Tag.Root, [
    [Tag.ModelRevision, root.modelRevision],
    [Tag.Arithmetic, root.arithmetic],
    [Tag.Precision, root.precision],
    [Tag.ImageProcessor, root.imageProcessor],
    [Tag.CacheDomain, root.domain],
  ]);
}

/** Text that follows what `parent` names. */
export function textName(parent: ContentName, tokenIds: readonly number[]): ContentName {
  return nameOf(Tag.Text, [
    [Tag.Parent, parent],
    [Tag.TokenIds, tokenIds],
  ]);
}

/** A run of text in a form of its own that follows what `parent` names. */
export function runName(parent: ContentName, form: SpanForm, tokenIds: readonly number[]): ContentName {
  return nameOf(Tag.Run, [
    [Tag.Parent, parent],
    [Tag.Codec, form.codec],
    [Tag.ProfileId, form.profileId],
    [Tag.TokenIds, tokenIds],
  ]);
}

/** A whole picture span, its marker tokens included, that follows what `parent` names. */
export function pictureName(
  parent: ContentName,
  picture: PictureContent,
  tokenIds: readonly number[],
): ContentName {
  return nameOf(Tag.Picture, [
    [Tag.Parent, parent],
    [Tag.ContentSha256, picture.contentSha256],
    [Tag.Codec, picture.codec],
    [Tag.ProfileId, picture.profileId],
    [Tag.TokenIds, tokenIds],
  ]);
}

function nameOf(kind: number, fields: readonly Field[]): ContentName {
  return hashFields(kind, fields) as ContentName;
}
