import type { ClusterPoint, ClusterRequest, ClusterWorker } from '@kvcapsule/contracts/cluster';
import { KvcError } from '@kvcapsule/contracts/errors';
import { type BeforeApplicationShutdown, Injectable } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Inflight } from '../operations/inflight.service.js';
import { Settings } from '../settings.js';
import { Change, Changes, deltaText, listText } from './changes.js';
import { ClusterStatus, type Viewer } from './cluster-status.service.js';
import { Listener } from './listener.js';

/** Between two looks at the cluster while anybody listens. */
const TICK_MS = 500;
/** Events are comments where nothing has changed for so many looks, so that proxies leave the stream open. */
const QUIET_TICKS = 20;
/** Each has a socket, and at most one snapshot in it. */
const MOST_LISTENERS = 64;
/** So that tenants leave room for admins, and one of them for the others. */
const MOST_OF_TENANTS = 48;
const MOST_OF_ONE = 16;
const RETRY_AFTER_MS = 5_000;

/** Those who are shown the same, and what they were shown last. */
class Audience {
  readonly listeners = new Set<Listener>();
  readonly #workers = new Changes<string, ClusterWorker>(({ id }) => id);
  readonly #requests = new Changes<number, ClusterRequest>(({ serial }) => serial);
  readonly #router = new Change();
  readonly #totals = new Change();
  #point: ClusterPoint | undefined;
  #quietTicks = 0;

  constructor(
    private readonly viewer: Viewer,
    private readonly status: ClusterStatus,
  ) {}

  /** Looks at the cluster once, whoever many listen. */
  tick(): void {
    const delta = this.#delta();
    this.#quietTicks = delta === undefined ? this.#quietTicks + 1 : 0;
    const isQuiet = this.#quietTicks >= QUIET_TICKS;
    if (isQuiet) this.#quietTicks = 0;
    let snapshot: string | undefined;
    for (const listener of [...this.listeners]) {
      if (listener.congested) listener.needsSnapshot ||= delta !== undefined;
      else if (listener.needsSnapshot) {
        snapshot ??= this.#snapshot();
        listener.needsSnapshot = false;
        listener.send(snapshot);
      } else if (delta !== undefined) listener.send(`event: delta\ndata: ${delta}\n\n`);
      else if (isQuiet) listener.send(':\n\n');
    }
  }

  #snapshot(): string {
    return `event: snapshot\ndata: ${JSON.stringify(this.status.snapshot(this.viewer))}\n\n`;
  }

  #delta(): string | undefined {
    const { status, viewer } = this;
    const workers = status.workers(viewer);
    const worker = this.#workers.look(workers);
    const request = this.#requests.look(status.requestsOf(viewer));
    return deltaText(
      {
        router: this.#router.look(status.router()),
        totals: this.#totals.look(status.totals(workers)),
        workers: listText(worker.changed),
        gone_workers: listText(worker.gone.map((id) => JSON.stringify(id))),
        requests: listText(request.changed),
        gone_requests: listText(request.gone.map(String)),
        points: listText(this.#newPoints().map((point) => JSON.stringify(point))),
      },
      Date.now() / 1_000,
    );
  }

  #newPoints(): readonly ClusterPoint[] {
    const { history } = this.status;
    const points = history.slice(this.#point ? history.lastIndexOf(this.#point) + 1 : 0);
    this.#point = history.at(-1);
    return points;
  }
}

/**
 * Tells everybody who listens what changes in the cluster: a snapshot first, then deltas twice a second at most. They
 * are made once for all who see the same. A reader that is slower has what is in its socket, and gets a snapshot once
 * it has taken that.
 */
@Injectable()
export class ClusterFeed implements BeforeApplicationShutdown {
  readonly #audiences = new Map<string, Audience>();
  #listeners = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly status: ClusterStatus,
    private readonly settings: Settings,
    private readonly inflight: Inflight,
  ) {}

  /** Throws `RATE_LIMIT_EXCEEDED` where too many listen, `DRAINING` while the router shuts down. */
  listen(reply: FastifyReply, viewer: Viewer): void {
    if (this.inflight.draining) throw new KvcError('DRAINING', 'The server is shutting down.', retryLater());
    const [key, audience] = this.#audienceOf(viewer);
    this.#checkRoom(viewer, audience);
    this.#audiences.set(key, audience);
    const listener = new Listener(reply, this.settings.stallMs, () => {
      this.#leave(key, audience, listener);
    });
    this.#listeners += 1;
    audience.listeners.add(listener);
    this.#timer ??= setInterval(() => {
      for (const each of this.#audiences.values()) each.tick();
    }, TICK_MS);
    audience.tick();
  }

  /** Before answers under way are awaited: a stream of events never ends by itself. */
  beforeApplicationShutdown(): void {
    for (const { listeners } of this.#audiences.values()) for (const listener of listeners) listener.end();
  }

  /** An admin sees the same whichever tenant the key is of. */
  #audienceOf(viewer: Viewer): [string, Audience] {
    const key = viewer.isAdmin ? 'admin' : `tenant ${viewer.tenant}`;
    return [key, this.#audiences.get(key) ?? new Audience(viewer, this.status)];
  }

  #checkRoom({ isAdmin }: Viewer, { listeners: { size } }: Audience): void {
    const most = isAdmin ? MOST_LISTENERS : MOST_OF_TENANTS;
    if (this.#listeners < most && (isAdmin || size < MOST_OF_ONE)) return;
    throw new KvcError(
      'RATE_LIMIT_EXCEEDED',
      'As many listen to this router already as may with such a key.',
      retryLater(),
    );
  }

  #leave(key: string, audience: Audience, listener: Listener): void {
    if (!audience.listeners.delete(listener)) return;
    this.#listeners -= 1;
    if (audience.listeners.size === 0) this.#audiences.delete(key);
    if (this.#listeners > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

const retryLater = () => ({ retryAfterMs: RETRY_AFTER_MS });
