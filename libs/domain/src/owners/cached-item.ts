/** What a name stands for: a block of raw text, a run of stored text, a picture's whole span, a picture's features. */
export type CachedKind = 'text' | 'run' | 'picture' | 'features';

/** What a worker holds under one name. */
export interface CachedItem {
  /** SHA-256 in hex: a content's name, or a picture's file's where its features are held. */
  readonly name: string;
  readonly kind: CachedKind;
  readonly tokens: number;
  /** Of the pool; features take none. */
  readonly pages: number;
}

export type CacheChange =
  | { readonly kind: 'stored'; readonly item: CachedItem }
  | { readonly kind: 'removed'; readonly name: string }
  /** A request that was taken in is about to store it. */
  | { readonly kind: 'coming'; readonly name: string }
  /** No request is about to store it any more, and none has. */
  | { readonly kind: 'withdrawn'; readonly name: string };

/** All that is held at this moment; it may be read on while it changes, as a `Map` may. */
export type CachedItems = () => Iterator<CachedItem>;
