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

/** What share of a whole a part is: none where the part has not happened yet and so has no series. */
export function share(part: string, whole: string): string {
  return `(${part} or 0 * ${whole}) / ${whole}`;
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

/** What 99 of a hundred values of a histogram do not pass, for each value of some labels. */
export function p99By(histogram: string, by: string): Query {
  return {
    expr: `histogram_quantile(0.99, ${rate(`${histogram}_bucket`, `le, ${by}`)})`,
    legend: by
      .split(', ')
      .map((label) => `{{${label}}}`)
      .join(' '),
  };
}

/** The mean of a histogram's values. */
export function mean(histogram: string, legend: string): Query {
  return { expr: `${totalRate(`${histogram}_sum`)} / ${totalRate(`${histogram}_count`)}`, legend };
}

/** How many of a histogram's values came into each bucket. */
export function buckets(histogram: string): Query {
  return { expr: `sum by (le) (increase(${histogram}_bucket${RATE}))`, legend: '{{le}}' };
}

/** A metric of Node's own, of routers or of workers alone: the name of the job is the scraper's choice. */
export function nodeOf(component: 'router' | 'worker', metric: string): string {
  const own = { router: 'kvcapsule_router_workers', worker: 'kvcapsule_worker_info' }[component];
  return `${metric} and on (job, instance) ${own}`;
}
