import type { FastifyReply } from 'fastify';

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
} as const;

/** One reader of events. What it has not taken is never added to: it is told everything anew instead. */
export class Listener {
  /** It has had no event yet, or has missed one. */
  needsSnapshot = true;
  #congested = false;
  #closed = false;

  constructor(
    private readonly reply: FastifyReply,
    stallMs: number,
    private readonly onClose: () => void,
  ) {
    const { raw } = reply;
    const headers = { ...reply.getHeaders(), ...HEADERS };
    reply.hijack();
    raw.writeHead(200, headers as Record<string, string>);
    raw.setTimeout(stallMs, () => {
      if (this.#congested) this.drop();
    });
    if (raw.destroyed) this.#end();
    else raw.once('close', () => this.#end());
  }

  get congested(): boolean {
    return this.#congested;
  }

  send(text: string): void {
    if (this.#closed || this.#congested) return;
    if (this.reply.raw.write(text)) return;
    this.#congested = true;
    this.reply.raw.once('drain', () => {
      this.#congested = false;
    });
  }

  /** No more events come. */
  end(): void {
    this.reply.raw.end();
    this.#end();
  }

  /** It takes nothing. */
  drop(): void {
    this.reply.raw.destroy();
    this.#end();
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.onClose();
  }
}
