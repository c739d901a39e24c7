export * from './admission-queue.js';
export * from './ask.js';
export { leavesHeadroom, NO_HEADROOM, type Turn } from './headroom.js';
export type { OverCap, TenantAccount } from './tenant-account.js';
export * from './tenant-terms.js';
export { workOf } from './work.js';
