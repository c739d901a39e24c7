import { RUNG_NAMES, type SchedulerCounters } from '@kvcapsule/domain/scheduling';
import type { WorkerMetrics } from '@kvcapsule/platform/telemetry';

type Count = { [K in keyof SchedulerCounters]: SchedulerCounters[K] extends number ? K : never };

/** Brings the counters of the prefix cache and of the ladder to what the scheduler has counted. */
export class PressureMetrics {
  #told: SchedulerCounters | undefined;

  /** @param codecs of the engine's formats, by their numbers */
  constructor(
    private readonly metrics: WorkerMetrics,
    private readonly codecs: readonly string[],
  ) {}

  update(counted: SchedulerCounters): void {
    const grown = (name: Count[keyof Count]): number => counted[name] - (this.#told?.[name] ?? 0);
    const { prefixTokens, evictedPages, recompressions, textRecompressions } = this.metrics;
    const { swaps, preemptions, recomputedTokens, pictureLookups } = this.metrics;
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
    pictureLookups.inc(grown('pictures'));
    this.#updateKinds(counted);
    this.#told = counted;
  }

  /** What is counted by kind. */
  #updateKinds({ evictions, rungs, pictureHits }: SchedulerCounters): void {
    const told = this.#told;
    for (const [reason, count] of Object.entries(evictions)) {
      const before = told?.evictions[reason as keyof typeof evictions] ?? 0;
      this.metrics.evictions.inc({ reason }, count - before);
    }
    for (const rung of RUNG_NAMES) this.metrics.rungs.inc({ rung }, rungs[rung] - (told?.rungs[rung] ?? 0));
    for (const [format, count] of pictureHits) {
      const codec = format === undefined ? 'raw' : (this.codecs[format] ?? 'raw');
      this.metrics.pictureHits.inc({ codec }, count - (told?.pictureHits.get(format) ?? 0));
    }
  }
}
