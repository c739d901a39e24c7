import type { Scorer } from '../placement.js';
import { leastLoaded } from './least-loaded/least-loaded.scorer.js';

/** Every scorer that takes part in placement. */
export const SCORERS: readonly Scorer[] = [leastLoaded];
