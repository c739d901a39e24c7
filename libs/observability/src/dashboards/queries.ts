import type { Query } from './board.js';

const RATE = '[$__rate_interval]';

/** What a counter rises by each second, by some of its labels. */
export function rate(counter: string, by: string): string {
  return `sum by (${by}) (rate(${counter}${RATE}))`;
}

/** What a counter rises by each second, all together. */
export function totalRate(counter: string): string {
  return `sum(rate(${counter}${RATE}))`;
}

/** The value that a share of a histogram's values does not pass. */
export function quantile(share: number, histogram: string): string {
  return `histogram_quantile(${String(share)}, ${rate(`${histogram}_bucket`, 'le')})`;
}

/** Half, 95 and 99 of a hundred. */
export function quantiles(histogram: string): Query[] {
  return [0.99, 0.95, 0.5].map((share) => ({
    expr: quantile(share, histogram),
    legend: `p${String(share * 100)}`,
  }));
}

/** How many of a histogram's values came into each bucket. */
export function buckets(histogram: string): Query {
  return { expr: `sum by (le) (increase(${histogram}_bucket${RATE}))`, legend: '{{le}}' };
}

/** A metric of Node's own, of routers or of workers alone: the name of the job is the scraper's choice. */
export function nodeOf(component: 'router' | 'worker', metric: string): string {
  const own = { router: 'kvcapsule_router_workers', worker: 'kvcapsule_worker_pages_free' }[component];
  return `${metric} and on (job, instance) ${own}`;
}
