import type { ChatTransport } from '../client/index.js';
import { type Measured, Recorder, type RequestRecord } from '../measurement/index.js';
import {
  type BodyOptions,
  chatBody,
  type Conversation,
  type PastTurn,
  type PlannedTurn,
  type Pictures,
  type Workload,
} from '../workload/index.js';
import { Exchange } from './exchange.js';
import type { RunPlan, Shard } from './plan.js';
import { type Start, startsOf } from './starts.js';

/** Time of a run, ms from its start. */
export interface RunClock {
  now(): number;
  /** @returns what takes it back */
  after(ms: number, act: () => void): () => void;
}

export interface LoadRunOptions {
  readonly plan: RunPlan;
  readonly workload: Workload;
  readonly pictures: Pictures;
  readonly body: BodyOptions;
  readonly transport: ChatTransport;
  readonly clock: RunClock;
  /** Requests that are kept, some 400 bytes each; the run ends there, before memory does. */
  readonly mostKept?: number;
  /** Hears of every request that ends, the warm-up's too. */
  readonly onRecord?: (record: RequestRecord) => void;
}

/** What is known while a run goes on. */
export interface RunState {
  readonly sent: number;
  readonly open: number;
  readonly ok: number;
  readonly failed: number;
  readonly parts: number;
}

/** What is left to ask of a conversation. */
interface Talk {
  readonly conversation: Conversation;
  readonly past: readonly PastTurn[];
  /** Called when nothing more is asked. */
  readonly over: (outcome: string) => void;
}

/** A request that is ready to be sent. */
interface Ask {
  readonly talk: Talk;
  readonly turn: PlannedTurn;
  readonly intendedMs: number;
  readonly payload: string;
}

/** A caller whose request failed waits before the next one, so that a server that refuses is not stormed. */
const BACK_OFF_MS = 100;

/** How many of `count` things are a shard's. */
export const shareOf = (count: number, { index, of }: Shard): number =>
  Math.floor((count + of - 1 - index) / of);

/** Sent in one go: of a rate that nothing can keep up with, answers and the end of the run are still seen to. */
const MOST_AT_ONCE = 64;

/** By default: some 800 MB of them. */
const MOST_KEPT = 2_000_000;

const nothing = (): void => undefined;

/** Sends the requests of a plan and measures them; it decides nothing else and knows no socket. */
export class LoadRun {
  readonly #options: LoadRunOptions;
  readonly #recorder: Recorder;
  readonly #cancels = new Map<Exchange, () => void>();
  /** What is going to be sent: the next start, turns that are thought about, callers that wait. */
  readonly #timers = new Set<() => void>();
  readonly #ended = Promise.withResolvers<Measured>();
  /** Conversations that begin are over; turns may still follow. */
  #hasStarted = false;
  #isSending = true;
  #isFull = false;
  #stopDeadline = nothing;
  #stopDrain = nothing;
  readonly #counts = { sent: 0, ok: 0, failed: 0, parts: 0 };

  constructor(options: LoadRunOptions) {
    this.#options = options;
    this.#recorder = new Recorder(options.plan.warmUpMs);
  }

  /** Resolves when every request has ended. */
  start(): Promise<Measured> {
    const { plan, workload, clock } = this.#options;
    if (plan.durationMs !== undefined)
      this.#stopDeadline = clock.after(plan.warmUpMs + plan.durationMs - clock.now(), () => {
        this.#stopSending();
      });
    if (plan.shape.kind === 'closed') this.#startCallers(shareOf(plan.shape.concurrency, plan.shard));
    else this.#pump(startsOf(plan, workload));
    return this.#ended.promise;
  }

  /** Ends early: what is open is given up, what has been measured counts. */
  stop(): void {
    this.#stopSending();
    this.#cancelAll();
  }

  /** Whether it ended because it keeps no more requests. */
  get isFull(): boolean {
    return this.#isFull;
  }

  get state(): RunState {
    return { ...this.#counts, open: this.#cancels.size };
  }

  /** Begins what is due, then waits for the next, whose request is made beforehand. */
  #pump(starts: Iterator<Start, void>, waiting?: Ask): void {
    let sent = 0;
    for (let ask = waiting ?? this.#next(starts); ask !== undefined; ask = this.#next(starts)) {
      const waitMs = ask.intendedMs - this.#options.clock.now();
      if (waitMs > 0 || sent >= MOST_AT_ONCE) {
        this.#later(waitMs, () => {
          this.#pump(starts, ask);
        });
        return;
      }
      sent += 1;
      if (!this.#isSending) return;
      this.#send(ask);
    }
    this.#allStarted();
  }

  #next(starts: Iterator<Start, void>): Ask | undefined {
    const { done, value } = starts.next();
    return done === true ? undefined : this.#firstAsk(value, nothing);
  }

  #startCallers(callers: number): void {
    const { plan, workload, clock } = this.#options;
    const most = plan.requests === undefined ? Infinity : shareOf(plan.requests, plan.shard);
    let [conversation, counted] = [plan.shard.index, 0];
    const call = (): void => {
      if (!this.#isSending) return;
      if (counted >= most || conversation >= (workload.count ?? Infinity)) {
        this.#allStarted();
        return;
      }
      const start = { conversation, atMs: clock.now() };
      conversation += plan.shard.of;
      if (start.atMs >= plan.warmUpMs) counted += 1;
      const ask = this.#firstAsk(start, (outcome) => {
        if (outcome === 'ok') call();
        else this.#later(BACK_OFF_MS, call);
      });
      if (ask) this.#send(ask);
    };
    for (let caller = 0; caller < callers; caller += 1) call();
    if (callers === 0) this.#allStarted();
  }

  #firstAsk({ conversation, atMs }: Start, over: Talk['over']): Ask | undefined {
    return this.#ask(
      { conversation: this.#options.workload.conversation(conversation), past: [], over },
      atMs,
    );
  }

  /** Makes the request of a conversation's next turn; absent without one. */
  #ask(talk: Talk, intendedMs: number): Ask | undefined {
    const { pictures, body } = this.#options;
    const turn = talk.conversation.turns[talk.past.length];
    return turn && { talk, turn, intendedMs, payload: chatBody(turn, talk.past, pictures, body) };
  }

  #send({ talk, turn, intendedMs, payload }: Ask): void {
    const { plan, transport, clock } = this.#options;
    const { conversation, past } = talk;
    const asked = {
      ...{ conversation: conversation.number, turn: past.length, pictures: turn.pictures.length },
      ...{ intendedMs, sentMs: clock.now() },
    };
    const exchange = new Exchange({
      asked,
      now: () => clock.now(),
      onPart: () => (this.#counts.parts += 1),
      onEnd: (ended, record) => {
        this.#take(talk, ended, record);
      },
    });
    this.#counts.sent += 1;
    if (this.#cancels.size >= plan.mostOpen) {
      exchange.end('too_many_open');
      return;
    }
    const keepText = past.length + 1 < conversation.turns.length;
    const cancel = transport.send(payload, exchange, keepText);
    if (!exchange.isOver) this.#cancels.set(exchange, cancel);
    if (this.#hasStarted) this.#armDrain();
  }

  #take(talk: Talk, exchange: Exchange, record: RequestRecord): void {
    this.#cancels.delete(exchange);
    this.#recorder.take(record, exchange.gaps);
    this.#options.onRecord?.(record);
    if (this.#recorder.records.length >= (this.#options.mostKept ?? MOST_KEPT)) {
      this.#isFull = true;
      this.#stopSending();
    }
    const { outcome } = record;
    if (outcome === 'ok') this.#counts.ok += 1;
    else if (outcome !== 'cancelled') this.#counts.failed += 1;
    this.#goOn(talk, exchange.text, outcome);
    this.#settle();
  }

  #goOn({ conversation, past, over }: Talk, answer: string, outcome: string): void {
    const turn = conversation.turns[past.length];
    const isLast = past.length + 1 >= conversation.turns.length;
    if (!this.#isSending || turn === undefined) return;
    if (outcome !== 'ok' || isLast) {
      over(outcome);
      return;
    }
    const { clock, plan } = this.#options;
    const atMs = clock.now() + plan.thinkMs;
    const talk: Talk = { conversation, past: [...past, { turn, answer }], over };
    const ask = this.#ask(talk, atMs);
    this.#later(plan.thinkMs, () => {
      if (ask) this.#send(ask);
    });
  }

  #later(ms: number, act: () => void): void {
    if (!this.#isSending) return;
    const takeBack = this.#options.clock.after(ms, () => {
      this.#timers.delete(takeBack);
      act();
    });
    this.#timers.add(takeBack);
  }

  #allStarted(): void {
    if (!this.#hasStarted) this.#armDrain();
    this.#hasStarted = true;
    this.#settle();
  }

  #stopSending(): void {
    this.#isSending = false;
    for (const takeBack of this.#timers) takeBack();
    this.#timers.clear();
    this.#allStarted();
  }

  #armDrain(): void {
    this.#stopDrain();
    this.#stopDrain = this.#options.clock.after(this.#options.plan.drainMs, () => {
      this.#stopSending();
      this.#cancelAll();
    });
  }

  #cancelAll(): void {
    for (const cancel of [...this.#cancels.values()]) cancel();
  }

  #settle(): void {
    if (!this.#hasStarted || this.#cancels.size > 0 || this.#timers.size > 0) return;
    this.#stopDeadline();
    this.#stopDrain();
    this.#ended.resolve(this.#recorder.measured());
  }
}
