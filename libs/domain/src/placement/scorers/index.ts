import type { Scorer } from '../placement.js';
import { affinity } from './affinity/affinity.scorer.js';
import { hardware } from './hardware/hardware.scorer.js';
import { lastCopy } from './last-copy/last-copy.scorer.js';
import { load } from './load/load.scorer.js';
import { pace } from './pace/pace.scorer.js';
import { picture } from './picture/picture.scorer.js';
import { prefix } from './prefix/prefix.scorer.js';

export { load };

/** Every scorer. */
export const SCORERS: readonly Scorer[] = [prefix, picture, load, affinity, hardware, lastCopy, pace];
