import type { Evicted, OverCap, Refusal } from '@kvcapsule/domain/admission';
import type { RouterMetrics } from '@kvcapsule/platform/telemetry';

/** Tenants that have a label of their own; each costs some twenty time series. */
const MOST_NAMED = 32;
/** Whoever has none. */
const OTHERS = 'other';

type Reason = Refusal['cause'] | Evicted['cause'] | `cap-${OverCap['cap'] | 'pages'}`;

/** What becomes of requests that ask to be let in, by tenant: the first that are configured by name. */
export class AdmissionMetrics {
  readonly #named: ReadonlySet<string>;
  readonly #waits = new Map<string, { observe(seconds: number): void }>();

  constructor(
    private readonly metrics: RouterMetrics,
    tenants: readonly string[],
  ) {
    this.#named = new Set(tenants.slice(0, MOST_NAMED));
  }

  admitted(tenant: string, waitMs: number): void {
    const label = this.#label(tenant);
    let wait = this.#waits.get(label);
    if (!wait) this.#waits.set(label, (wait = this.metrics.queueWait.labels({ tenant: label })));
    wait.observe(waitMs / 1_000);
  }

  refused(tenant: string, reason: Reason): void {
    this.metrics.refusals.inc({ tenant: this.#label(tenant), reason: reason.replaceAll('-', '_') });
  }

  /** @param sizes how many requests of each tenant wait */
  waiting(sizes: ReadonlyMap<string, number>, bytes: number): void {
    this.metrics.queueBytes.set(bytes);
    this.metrics.queueRequests.reset();
    for (const label of [...this.#named, OTHERS]) this.metrics.queueRequests.set({ tenant: label }, 0);
    for (const [tenant, size] of sizes) this.metrics.queueRequests.inc({ tenant: this.#label(tenant) }, size);
  }

  #label(tenant: string): string {
    return this.#named.has(tenant) ? tenant : OTHERS;
  }
}
