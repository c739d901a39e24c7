import type { SchedulerCounters } from '@kvcapsule/domain/scheduling';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';

/** Brings the counters of the prefix cache and of the ladder to what the scheduler has counted. */
export class PressureMetrics {
  #told: SchedulerCounters | undefined;

  constructor(private readonly metrics: WorkerMetrics) {}

  update(counted: SchedulerCounters): void {
    const grown = (name: keyof SchedulerCounters): number => counted[name] - (this.#told?.[name] ?? 0);
    const { prefixTokens, evictedPages, recompressions, textRecompressions } = this.metrics;
    const { swaps, preemptions, recomputedTokens } = this.metrics;
    const hits = grown('prefixHitTokens');
    prefixTokens.inc({ outcome: 'hit' }, hits);
    prefixTokens.inc({ outcome: 'miss' }, grown('prefixTokens') - hits);
    evictedPages.inc(grown('evictedPages'));
    recompressions.inc(grown('recompressions'));
    textRecompressions.inc(grown('textRecompressions'));
    swaps.inc({ direction: 'out' }, grown('swapsOut'));
    swaps.inc({ direction: 'in' }, grown('swapsIn'));
    preemptions.inc(grown('preemptions'));
    recomputedTokens.inc(grown('recomputedTokens'));
    this.#told = counted;
  }
}
