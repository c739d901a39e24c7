import type { FastifyReply } from 'fastify';

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
} as const;

/** Answers a HEAD: what a reader would be told before its first event. */
export function describeEvents(reply: FastifyReply): void {
  begin(reply).end();
}

function begin(reply: FastifyReply): FastifyReply['raw'] {
  const headers = { ...reply.getHeaders(), ...HEADERS };
  reply.hijack();
  reply.raw.writeHead(200, headers as Record<string, string>);
  return reply.raw;
}

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
    const raw = begin(reply);
    raw.setTimeout(stallMs, () => {
      if (this.#congested) this.drop();
    });
    // nobody has this listener yet, so it is told of the end a little later
    if (raw.destroyed)
      queueMicrotask(() => {
        this.#end();
      });
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
