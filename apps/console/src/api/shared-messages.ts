import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import type { Connection } from './feed.js';

/** From a window to the worker that windows share: whose events it wants, told again every few seconds; none: none. */
export interface Wish {
  readonly url: string;
  readonly key: string | undefined;
}

export type News =
  | { readonly kind: 'state'; readonly state: Connection }
  /** All that is known, to a window that joins. */
  | { readonly kind: 'known'; readonly known: ClusterSnapshot }
  | { readonly kind: 'event'; readonly name: string | undefined; readonly data: string };

/** A window that says nothing for longer has gone without a word. */
export const WISH_INTERVAL_MS = 5_000;
