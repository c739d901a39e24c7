export * from './admission-queue.js';
export * from './ask.js';
export { type Headroom, leavesHeadroom, NO_HEADROOM } from './headroom.js';
export type { OverCap, TenantAccount } from './tenant-account.js';
export * from './tenant-terms.js';
export { workOf } from './work.js';
