import { type Dispatcher, Pool } from 'undici';
import { errorCode, readChunk, type Usage } from './chunk.js';
import { EventLines } from './event-lines.js';

/** Who hears of one answer as it comes. */
export interface AnswerListener {
  /** A piece of the answer's text came; `text` where it is asked for. */
  part(text?: string): void;
  usage(usage: Usage): void;
  /** Once: `ok`, or the kind of the fault. Nothing comes after it. */
  end(outcome: string): void;
}

/** Sends requests; the run's only way to a server. */
export interface ChatTransport {
  /** @returns what gives the request up; its listener hears `cancelled` then, unless it has ended */
  send(body: string, listener: AnswerListener, keepText: boolean): () => void;
}

export interface ChatClientOptions {
  /** With its path up to `/v1`. */
  readonly baseUrl: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A server that says nothing for so long has failed. */
  readonly silenceMs: number;
}

/** Of a refusal: enough for the error it tells. */
const REFUSAL_BYTES = 64 * 1024;
const CONNECT_MS = 10_000;

/** Chat completions over connections that are kept, as many as there are open requests. */
export class ChatClient implements ChatTransport {
  readonly #pool: Pool;
  readonly #path: string;
  readonly #headers: Record<string, string>;

  constructor({ baseUrl, headers, silenceMs }: ChatClientOptions) {
    const url = new URL(baseUrl);
    this.#path = `${url.pathname.replace(/\/+$/, '')}/chat/completions`;
    this.#headers = { 'content-type': 'application/json', accept: 'text/event-stream', ...headers };
    const waits = { headersTimeout: silenceMs, bodyTimeout: silenceMs, connect: { timeout: CONNECT_MS } };
    this.#pool = new Pool(url.origin, { connections: null, pipelining: 1, ...waits });
  }

  send(body: string, listener: AnswerListener, keepText: boolean): () => void {
    const answer = new Answer(listener, keepText);
    this.#pool.dispatch({ path: this.#path, method: 'POST', headers: this.#headers, body }, answer);
    return () => {
      answer.cancel();
    };
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}

/** One answer on its way, from the head to `[DONE]`. */
class Answer implements Dispatcher.DispatchHandler {
  readonly #lines = new EventLines();
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  /** Whether anything came that is an event. */
  #hasEvents = false;
  /** Text, or tokens that are none, such as an end at once. */
  #isAnswered = false;
  #hasEnded = false;
  #refusal = '';

  constructor(
    readonly listener: AnswerListener,
    readonly keepText: boolean,
  ) {}

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#hasEnded) controller.abort(new Error('cancelled'));
  }

  onResponseStart(_: Dispatcher.DispatchController, statusCode: number): void {
    this.#status = statusCode;
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#hasEnded) return;
    if (this.#status !== 200) {
      if (this.#refusal.length < REFUSAL_BYTES) this.#refusal += chunk.toString('latin1');
      return;
    }
    if (!this.#lines.push(chunk, this.#take)) this.#fail('garbage');
  }

  onResponseEnd(): void {
    if (this.#status !== 200) this.#end(`http_${this.#status}${refusalCode(this.#refusal)}`);
    else this.#end(this.#hasEvents ? 'broken_off' : 'garbage');
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#end(faultOf(error, this.#status !== 0));
  }

  cancel(): void {
    this.#fail('cancelled');
  }

  /** One closure for all events of the answer. */
  readonly #take = (bytes: Buffer, start: number, end: number): void => {
    if (this.#hasEnded) return;
    this.#hasEvents = true;
    const chunk = readChunk(bytes, start, end, this.keepText);
    if (chunk.kind === 'text') {
      this.#isAnswered = true;
      this.listener.part(chunk.text);
      if (chunk.usage) this.#count(chunk.usage);
    } else if (chunk.kind === 'other') {
      if (chunk.usage) this.#count(chunk.usage);
    } else if (chunk.kind === 'done') this.#end(this.#isAnswered ? 'ok' : 'no_text');
    else this.#fail(chunk.kind === 'error' ? `stream_error ${chunk.code}` : 'garbage');
  };

  #count(usage: Usage): void {
    if (usage.completionTokens > 0) this.#isAnswered = true;
    this.listener.usage(usage);
  }

  /** The connection cannot be used again: the rest of the answer would still come on it. */
  #fail(outcome: string): void {
    if (this.#hasEnded) return;
    this.#end(outcome);
    this.#controller?.abort(new Error(outcome));
  }

  #end(outcome: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.listener.end(outcome);
  }
}

function refusalCode(body: string): string {
  try {
    const code = errorCode((JSON.parse(body) as { error?: unknown } | null)?.error);
    return code === 'unknown' ? '' : ` ${code}`;
  } catch {
    return '';
  }
}

function faultOf(error: Error, hasBegun: boolean): string {
  const code = 'code' in error ? String(error.code) : '';
  if (
    /CONNECT_TIMEOUT|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EMFILE/.test(
      code,
    )
  )
    return 'connect';
  if (code.endsWith('_TIMEOUT')) return 'timeout';
  if (error.name === 'HTTPParserError') return 'garbage';
  return hasBegun ? 'broken_off' : 'connection_lost';
}
