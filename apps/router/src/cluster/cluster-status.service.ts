import type {
  ClusterFormat,
  ClusterFormats,
  ClusterPages,
  ClusterPoint,
  ClusterRequestDetail,
  ClusterRouter,
  ClusterSnapshot,
  ClusterTotals,
  ClusterWorker,
  PageKind,
} from '@kvcapsule/contracts/cluster';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type FormatDescription, PageKind as WireKind, type StoredPart } from '@kvcapsule/contracts/worker';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { Fleet } from '../fleet/fleet.service.js';
import { Inflight } from '../operations/inflight.service.js';
import { Ports } from '../ports.js';
import { RequestLog } from './request-log.service.js';
import { totalsOf, workerStatus } from './worker-status.js';

const POINT_MS = 2_000;
/** Five minutes. */
const KEPT_POINTS = 150;
/** Requests of one id that one of them tells of. */
const MOST_OTHERS = 32;

/** Who looks, and so what is shown. */
export interface Viewer {
  /** Sees requests of all tenants, and addresses. */
  readonly isAdmin: boolean;
  readonly tenant: string;
}

const KINDS: Readonly<Partial<Record<WireKind, PageKind>>> = {
  [WireKind.PAGE_KIND_FREE]: 'free',
  [WireKind.PAGE_KIND_RAW]: 'raw',
  [WireKind.PAGE_KIND_CAPSULE]: 'capsule',
  [WireKind.PAGE_KIND_CACHED]: 'cached',
};

/** The cluster as this router sees it, for people. Nothing is decided by it. */
@Injectable()
export class ClusterStatus implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #startedAt = Date.now() / 1_000;
  readonly #points: ClusterPoint[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly fleet: Fleet,
    private readonly requests: RequestLog,
    private readonly inflight: Inflight,
    private readonly ports: Ports,
  ) {}

  onApplicationBootstrap(): void {
    this.#timer = setInterval(() => {
      this.#note();
    }, POINT_MS);
  }

  onApplicationShutdown(): void {
    clearInterval(this.#timer);
  }

  get history(): readonly ClusterPoint[] {
    return this.#points;
  }

  snapshot(viewer: Viewer): ClusterSnapshot {
    const workers = this.workers(viewer);
    return {
      object: 'cluster',
      at: Date.now() / 1_000,
      router: this.router(),
      totals: this.totals(workers),
      workers,
      requests: this.requestsOf(viewer),
      history: [...this.#points],
    };
  }

  router(): ClusterRouter {
    return {
      started_at: this.#startedAt,
      draining: this.inflight.draining,
      routers: this.ports.routers,
      store_answers: this.fleet.storeFault === undefined,
    };
  }

  workers({ isAdmin }: Pick<Viewer, 'isAdmin'>): ClusterWorker[] {
    const nowMs = performance.now();
    return this.fleet.members.map((member) => {
      const status = workerStatus(member, this.fleet.silentMs(member.record.workerId), nowMs);
      return isAdmin ? status : { ...status, address: null };
    });
  }

  totals(workers: readonly ClusterWorker[]): ClusterTotals {
    return totalsOf(workers, this.requests.queued);
  }

  requestsOf({ isAdmin, tenant }: Viewer): ClusterSnapshot['requests'] {
    return this.requests.newest(isAdmin ? undefined : tenant);
  }

  /**
   * The newest request of that id, or the one of that serial. Throws `NOT_FOUND` for a request that is not remembered
   * here, or is another tenant's.
   */
  request(id: string, serial: number | undefined, { isAdmin, tenant }: Viewer): ClusterRequestDetail {
    const all = this.requests.find(id, isAdmin ? undefined : tenant);
    const entry = serial === undefined ? all[0] : all.find((each) => each.serial === serial);
    if (!entry)
      throw new KvcError(
        'NOT_FOUND',
        'No such request is remembered here; each process of a router knows its own.',
      );
    const others = all.filter((each) => each !== entry).slice(0, MOST_OTHERS);
    return {
      object: 'cluster.request',
      request: entry.told,
      placements: [...entry.placements],
      others: others.map(({ told }) => {
        const { serial: other, tenant: of, state, started_at } = told;
        return { serial: other, tenant: of, state, started_at };
      }),
    };
  }

  /** Rejects with `NOT_FOUND` for an unknown worker, with `WORKER_LOST` for one that cannot be asked. */
  async pages(workerId: string): Promise<ClusterPages> {
    const { pageBytes, pagesPerBlock, capacityPages } = this.#recordOf(workerId);
    const { kinds, pages } = await this.fleet.describePool(workerId);
    return {
      object: 'cluster.pages',
      worker: workerId,
      ...{ page_bytes: pageBytes, pages_per_block: pagesPerBlock, pages: capacityPages },
      runs: kinds.map((kind, at) => [KINDS[kind] ?? 'free', pages[at] ?? 0]),
    };
  }

  /** What codecs keep of each layer. Rejects as `pages` does. */
  async formats(workerId: string): Promise<ClusterFormats> {
    this.#recordOf(workerId);
    const { formats } = await this.fleet.describeFormats(workerId);
    return { object: 'cluster.formats', worker: workerId, formats: formats.map(formatOf) };
  }

  #recordOf(workerId: string): WorkerRecord {
    const member = this.fleet.members.find(({ record }) => record.workerId === workerId);
    if (!member) throw new KvcError('NOT_FOUND', 'There is no such worker.');
    return member.record;
  }

  #note(): void {
    const { tokens_per_second, running, waiting, queued, held } = this.totals(
      this.workers({ isAdmin: true }),
    );
    const { firstToken, betweenTokens } = this.requests.latencies(performance.now());
    this.#points.push({
      at: Date.now() / 1_000,
      ...{ tokens_per_second, running, waiting, queued },
      ...{ stored_bytes: held.stored_bytes, raw_bytes: held.raw_bytes },
      ...{ time_to_first_token: firstToken, inter_token_latency: betweenTokens },
    });
    if (this.#points.length > KEPT_POINTS) this.#points.shift();
  }
}

function formatOf({ codec, profileId, tokens, layers, ...format }: FormatDescription): ClusterFormat {
  return {
    ...{ codec, profile: profileId || null, tokens, covers_markers: format.coversMarkers },
    ...{ header_bytes: Number(format.headerBytes), varies: format.varies },
    layers: layers.map(({ keys, values }) => ({ keys: partOf(keys), values: partOf(values) })),
  };
}

const partOf = (part: StoredPart | undefined): ClusterFormat['layers'][number]['keys'] => ({
  bytes: Number(part?.bytes ?? 0),
  raw_bytes: Number(part?.rawBytes ?? 0),
  kept_energy: part?.keptEnergy ?? null,
});
