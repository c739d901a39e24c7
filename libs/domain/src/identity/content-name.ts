import { createHash, type Hash } from 'node:crypto';

/**
 * Names the keys and values of one piece of a sequence: SHA-256, in hex, over all that they depend on. In one kind
 * of worker equal names mean equal keys and values. A hash of a picture's bytes is not one, nor is a block's number.
 */
export type ContentName = string & { readonly __brand: 'ContentName' };

/** What everything in a sequence depends on. */
export interface RootContent {
  readonly modelRevision: string;
  /** Types of the weights and of raw rows: with others the values are others. */
  readonly precision: string;
  /** Turns a picture's file into what the model sees. */
  readonly imageProcessor: string;
  readonly tenant: string;
  /** Keeps whoever names another one from finding this content; empty: shared within the tenant. */
  readonly cacheSalt: string;
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

/**
 * Fields are written as tag, length, bytes. So no two lists of fields have the same bytes, whatever a salt or a
 * name is made of. A tag's meaning never changes; another one begins where it would.
 */
const Tag = {
  Root: 1,
  ModelRevision: 2,
  Precision: 3,
  ImageProcessor: 4,
  Tenant: 5,
  CacheSalt: 6,
  Text: 7,
  Picture: 8,
  Parent: 9,
  TokenIds: 10,
  ContentSha256: 11,
  Codec: 12,
  ProfileId: 13,
  Run: 14,
} as const;

class NameHash {
  readonly #hash: Hash = createHash('sha256');

  constructor(kind: number) {
    this.field(kind, '');
  }

  field(tag: number, value: string | Uint8Array): this {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
    const head = Buffer.alloc(9);
    head.writeUInt8(tag);
    head.writeBigUInt64LE(BigInt(bytes.length), 1);
    this.#hash.update(head).update(bytes);
    return this;
  }

  tokens(tokenIds: readonly number[]): this {
    const bytes = Buffer.alloc(tokenIds.length * 4);
    tokenIds.forEach((token, index) => bytes.writeUInt32LE(token, index * 4));
    return this.field(Tag.TokenIds, bytes);
  }

  name(): ContentName {
    return this.#hash.digest('hex') as ContentName;
  }
}

/** The name before the first token. */
export function rootName(root: RootContent): ContentName {
  return new NameHash(Tag.Root)
    .field(Tag.ModelRevision, root.modelRevision)
    .field(Tag.Precision, root.precision)
    .field(Tag.ImageProcessor, root.imageProcessor)
    .field(Tag.Tenant, root.tenant)
    .field(Tag.CacheSalt, root.cacheSalt)
    .name();
}

/** Text that follows what `parent` names. */
export function textName(parent: ContentName, tokenIds: readonly number[]): ContentName {
  return new NameHash(Tag.Text).field(Tag.Parent, parent).tokens(tokenIds).name();
}

/** A run of text in a form of its own that follows what `parent` names. */
export function runName(parent: ContentName, form: SpanForm, tokenIds: readonly number[]): ContentName {
  return new NameHash(Tag.Run)
    .field(Tag.Parent, parent)
    .field(Tag.Codec, form.codec)
    .field(Tag.ProfileId, form.profileId)
    .tokens(tokenIds)
    .name();
}

/** A whole picture span, its marker tokens included, that follows what `parent` names. */
export function pictureName(
  parent: ContentName,
  picture: PictureContent,
  tokenIds: readonly number[],
): ContentName {
  return new NameHash(Tag.Picture)
    .field(Tag.Parent, parent)
    .field(Tag.ContentSha256, picture.contentSha256)
    .field(Tag.Codec, picture.codec)
    .field(Tag.ProfileId, picture.profileId)
    .tokens(tokenIds)
    .name();
}
