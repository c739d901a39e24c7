import { type DescribePoolResponse, PageKind as WireKind } from '@kvcapsule/contracts/worker';
import { type PageKind, pageRunsOf } from '@kvcapsule/domain/scheduling';
import type { Serving } from '@kvcapsule/serving';

/** Of a pool of any size: two numbers a run, so 400 KB at most. */
const MOST_RUNS = 65_536;

const WIRE: Record<PageKind, WireKind> = {
  free: WireKind.PAGE_KIND_FREE,
  raw: WireKind.PAGE_KIND_RAW,
  capsule: WireKind.PAGE_KIND_CAPSULE,
  cached: WireKind.PAGE_KIND_CACHED,
};

export function describePool({ scheduler }: Pick<Serving, 'scheduler'>): DescribePoolResponse {
  const runs = pageRunsOf(scheduler.pageKinds(), MOST_RUNS);
  return { kinds: runs.map(({ kind }) => WIRE[kind]), pages: runs.map(({ pages }) => pages) };
}
