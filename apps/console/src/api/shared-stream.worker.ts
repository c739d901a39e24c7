import type { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { after } from '../state/merge.js';
import { type Connection, Feed } from './feed.js';
import { type News, type Wish, WISH_INTERVAL_MS } from './shared-messages.js';

/** The events of one key, for all windows that show them. */
class SharedStream {
  readonly #ports = new Set<MessagePort>();
  #state: Connection = 'connecting';
  #known: ClusterSnapshot | undefined;
  #feed: Feed | undefined;

  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  get isWanted(): boolean {
    return this.#ports.size > 0;
  }

  join(port: MessagePort): void {
    this.#ports.add(port);
    // a key that was none may have become one
    if (!this.#feed || this.#state === 'locked') this.#follow();
    send(port, { kind: 'state', state: this.#state });
    if (this.#known && this.#state === 'live') send(port, { kind: 'known', known: this.#known });
  }

  leave(port: MessagePort): void {
    this.#ports.delete(port);
    if (!this.isWanted) this.#feed?.stop();
  }

  #follow(): void {
    this.#feed?.stop();
    this.#feed = new Feed(this.url, this.key, {
      state: (state) => {
        this.#state = state;
        this.#tell({ kind: 'state', state });
      },
      event: (name, data) => {
        this.#known = after(this.#known, name, data);
        this.#tell({ kind: 'event', name, data });
      },
    });
  }

  #tell(news: News): void {
    for (const port of this.#ports) send(port, news);
  }
}

const send = (port: MessagePort, news: News): void => {
  port.postMessage(news);
};

const streams = new Map<string, SharedStream>();

function streamOf({ url, key = '' }: Wish): SharedStream {
  const name = `${url} ${key}`;
  const stream = streams.get(name) ?? new SharedStream(url, key);
  streams.set(name, stream);
  return stream;
}

/** A window: which stream it has, and when it was heard last. */
class Window {
  #stream: SharedStream | undefined;
  #heardAt = Date.now();

  constructor(private readonly port: MessagePort) {
    port.onmessage = ({ data }: MessageEvent<Wish>) => {
      this.#heardAt = Date.now();
      this.#take(data.key === undefined ? undefined : streamOf(data));
    };
    setInterval(() => {
      if (Date.now() - this.#heardAt > 4 * WISH_INTERVAL_MS) this.#take(undefined);
    }, WISH_INTERVAL_MS);
  }

  #take(stream: SharedStream | undefined): void {
    if (stream === this.#stream) return;
    this.#stream?.leave(this.port);
    this.#stream = stream;
    stream?.join(this.port);
    for (const [name, each] of streams) if (!each.isWanted) streams.delete(name);
  }
}

addEventListener('connect', (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port) new Window(port);
});
