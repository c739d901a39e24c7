/** Of the requests that a worker runs at one time, how many more it takes for tenants of whom it runs none. */
const GUEST_SHARE = 1 / 16;

/**
 * Slots that a worker has beside those that anybody's requests may take: for the first request of tenants that have none
 * running. Beside long answers of others, which end together when they began together, it would wait for as long as
 * these take; beside 64 others one row more in a step costs nothing that is seen.
 */
export function guestSlots(maxRunning: number): number {
  return Math.max(1, Math.floor(GUEST_SHARE * maxRunning));
}
