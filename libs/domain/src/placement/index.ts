import { leastLoaded } from './least-loaded/least-loaded.policy.js';
import type { PlacementPolicy } from './placement.js';

export * from './placement.js';

/** Every policy that takes part in placement. */
export const POLICIES: readonly PlacementPolicy[] = [leastLoaded];
