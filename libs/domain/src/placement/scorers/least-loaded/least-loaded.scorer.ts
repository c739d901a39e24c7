import type { Scorer, WorkerView } from '../../placement.js';

/** The heartbeat may be older than what was sent since: the larger of the two views counts. */
const requests = ({ record, ownRequests }: WorkerView) =>
  Math.max(record.load.running + record.load.waiting, ownRequests);

const freePages = ({ record, ownPages }: WorkerView) =>
  Math.min(record.load.freePages, record.capacityPages - ownPages);

/** Few requests and many free pages; see README.md for the formula. */
export const leastLoaded: Scorer = {
  name: 'least-loaded',
  score(request, worker) {
    const { capacityPages } = worker.record;
    if (capacityPages <= 0) return undefined;
    const room = Math.min(1, Math.max(0, (freePages(worker) - request.pagesOn(worker)) / capacityPages));
    return (1 / (1 + requests(worker)) + room) / 2;
  },
};
