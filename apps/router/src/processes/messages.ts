import type { Format, ProcessMetrics } from '@kvcapsule/platform/telemetry';
import type { Settings } from '../settings.js';

/** Where a process listens, and the models that it serves, as clients name them. */
export interface Ready {
  readonly url: string;
  readonly models: readonly string[];
}

/** What one of a router's processes says to the one that started it. */
export type FromProcess =
  | { readonly kind: 'ready'; readonly ready: Ready }
  /** Its event loop turns. */
  | { readonly kind: 'pulse' }
  /** Somebody asked it for the metrics of all. */
  | { readonly kind: 'scrape'; readonly id: number; readonly format: Format }
  | { readonly kind: 'metrics'; readonly id: number; readonly metrics: ProcessMetrics };

/** What is said to it. */
export type ToProcess =
  /** First of all: what it is to run by. */
  | { readonly kind: 'settings'; readonly settings: Settings }
  /** It is to answer with the same. */
  | { readonly kind: 'pulse' }
  | { readonly kind: 'collect'; readonly id: number }
  | { readonly kind: 'scraped'; readonly id: number; readonly text: string };
