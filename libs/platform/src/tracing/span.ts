export type Attributes = Readonly<Record<string, string | number | boolean>>;

/**
 * Something that is recorded while it goes on. Times are of `performance.now()`; no attribute holds anything that a user
 * has written.
 */
export interface Span {
  readonly traceId: string;
  /** W3C Trace Context, for whoever goes on with it in another process. */
  readonly traceparent: string;
  child(name: string): Span;
  /** A part of it that is over. */
  note(name: string, beganMs: number, endedMs: number, attributes?: Attributes): void;
  event(name: string, attributes?: Attributes): void;
  set(attributes: Attributes): void;
  /** @param code of the error that it ended with */
  end(code?: string): void;
}

/** Records spans and sends them away. */
export interface Tracing {
  /** A request from outside: recorded as its own traceparent says, or else as the sampler decides. */
  begin(name: string, traceparent: string | undefined): Span | undefined;
  /** A request of another process of ours: recorded where that records it. */
  join(name: string, traceparent: string | undefined): Span | undefined;
  /** Sends what is left; never rejects. */
  close(): Promise<void>;
}
