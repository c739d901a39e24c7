import type { Format, ProcessMetrics } from '@kvcapsule/platform/telemetry';
import type { Settings } from '../settings.js';
import type { FromProcess, Ready, ToProcess } from './messages.js';

/** What is used of the channel to the process that started this one. */
interface Channel {
  send?(message: FromProcess): boolean;
  on(event: 'message', listener: (message: ToProcess) => void): unknown;
}

/** The other processes of this router, through the one that started them all; a router of one process has none. */
export class Siblings {
  readonly #asked = new Map<number, (text: string) => void>();
  #nextId = 0;

  constructor(private readonly channel?: Channel) {}

  /** What this process is to run by, from the one that started it. */
  static settings(channel: Channel): Promise<Settings> {
    return new Promise((resolve) => {
      channel.on('message', (message) => {
        if (message.kind === 'settings') resolve(message.settings);
      });
    });
  }

  /** This process listens, and says from here on whenever it is asked that it does not hang. */
  ready(ready: Ready): void {
    this.channel?.on('message', ({ kind }) => {
      if (kind === 'pulse') this.channel?.send?.({ kind });
    });
    this.channel?.send?.({ kind: 'ready', ready });
  }

  /** Answers whoever asks for the metrics of all with those of this process. */
  collectWith(collect: () => Promise<ProcessMetrics>): void {
    this.channel?.on('message', (message) => {
      if (message.kind === 'collect') void this.#tell(message.id, collect);
      else if (message.kind === 'scraped') {
        this.#asked.get(message.id)?.(message.text);
        this.#asked.delete(message.id);
      }
    });
  }

  /** The metrics of all processes; undefined where there is but this one. */
  scrape(format: Format): Promise<string> | undefined {
    const { channel } = this;
    if (!channel) return undefined;
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      channel.send?.({ kind: 'scrape', id, format });
    });
  }

  async #tell(id: number, collect: () => Promise<ProcessMetrics>): Promise<void> {
    this.channel?.send?.({ kind: 'metrics', id, metrics: await collect() });
  }
}
