import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import type { Turn } from '@kvcapsule/domain/admission';
import { answerTokens, checkPromptTokens } from '@kvcapsule/domain/request';
import { processOf, systemFingerprint } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { Attempts } from '@kvcapsule/domain/retries';
import type { Span } from '@kvcapsule/platform/tracing';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Admission } from '../admission/admission.service.js';
import type { Ticket } from '../admission/ticket.js';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { RequestLog } from '../cluster/request-log.service.js';
import { Fleet } from '../fleet/fleet.service.js';
import { giveBackMemory } from '../heap.js';
import { Inflight, type Lifetime } from '../operations/inflight.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Owners } from '../owners/owners.service.js';
import { type Demand, demandOf, goingOn } from '../placement/demand.js';
import { receiptOf } from '../placement/receipt.js';
import { Receipts } from '../placement/receipts.service.js';
import type { Reservation } from '../placement/reservation.js';
import { Reserver } from '../placement/reserver.service.js';
import { Ports } from '../ports.js';
import { Settings } from '../settings.js';
import { attempt } from './attempt.js';
import { Failover, isWorkerFault, pause } from './failover.service.js';
import { generateMessage } from './generate-message.js';
import type { GenerationRequest } from './generation.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { Transcript } from './transcript.js';

interface Job {
  readonly request: GenerationRequest;
  readonly prompt: PreparedPrompt;
  /** Upper bound of the answer, within the context. */
  readonly maxTokens: number;
  readonly demand: Demand;
  readonly ticket: Ticket;
  readonly lifetime: Lifetime;
  readonly transcript: Transcript;
}

/** Takes a request from its messages to the last token: prepare, place, reserve, send, release. */
@Injectable()
export class GenerationService implements OnApplicationShutdown {
  readonly #log = new Logger(GenerationService.name);

  constructor(
    private readonly settings: Settings,
    private readonly ports: Ports,
    private readonly fleet: Fleet,
    private readonly admission: Admission,
    private readonly reserver: Reserver,
    private readonly catalogue: ModelCatalogue,
    private readonly models: ModelFleet,
    private readonly failover: Failover,
    private readonly inflight: Inflight,
    private readonly telemetry: Telemetry,
    private readonly owners: Owners,
    private readonly receipts: Receipts,
    private readonly requests: RequestLog,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.catalogue.close(), this.ports.close(), this.telemetry.close()]);
  }

  /**
   * Begins a generation, whose transcript tells of everything from here on: refusals and faults (`KvcError`s) are
   * its end. It is aborted when its last subscriber leaves. Throws `DRAINING` while the router shuts down.
   */
  begin(request: GenerationRequest): Transcript {
    const lifetime = this.inflight.open();
    const observer = this.requests.open(request, this.telemetry.observe(request.model.name, request.span));
    const transcript = new Transcript({
      windowBytes: this.settings.windowBytes,
      scored: request.topLogprobs !== undefined,
      owner: { abandoned: lifetime.abort, closed: lifetime.close },
      observer,
    });
    observer.follow(transcript);
    const { signal } = lifetime;
    // its client need not wait until the worker has stopped
    signal.addEventListener('abort', () => {
      transcript.fail(signal.reason);
    });
    const work = this.#run(request, transcript, lifetime).catch((fault: unknown) => {
      transcript.fail(fault);
    });
    this.inflight.hold(work);
    return transcript;
  }

  /** Where no worker of its model's revision is left before the answer begins, another revision takes the request. */
  async #run(request: GenerationRequest, transcript: Transcript, lifetime: Lifetime): Promise<void> {
    let [current, untried] = [request, this.catalogue.resolve(request.model.name).revisions.slice()];
    for (;;) {
      try {
        await this.#runAs(current, transcript, lifetime);
        return;
      } catch (error) {
        untried = untried.filter((revision) => revision !== current.model);
        const mayMove = isOfRevision(error) && transcript.tokenIds.length === 0 && !lifetime.signal.aborted;
        const model = mayMove ? this.models.choose(untried) : undefined;
        if (!model) throw error;
        current = { ...current, model };
      }
    }
  }

  async #runAs(request: GenerationRequest, transcript: Transcript, lifetime: Lifetime): Promise<void> {
    const { model, principal, priority } = request;
    const key = { modelId: model.workerModelId, tenant: principal.tenant };
    const ticket = this.admission.open(key, priority);
    try {
      await this.#serve(request, transcript, lifetime, ticket);
    } finally {
      ticket.close(transcript.tokenIds.length);
    }
  }

  async #serve(
    request: GenerationRequest,
    transcript: Transcript,
    lifetime: Lifetime,
    ticket: Ticket,
  ): Promise<void> {
    const { model } = request;
    this.models.checkCodec(model, request.kvCodec);
    const prompt = await recorded(request.span, 'prepare', () =>
      model.preparer.prepare(request.turns, lifetime.signal),
    );
    const context = this.models.contextTokens(model);
    const promptTokens = prompt.tokenIds.length;
    checkPromptTokens(promptTokens, context);
    transcript.accept();
    const maxTokens = answerTokens(promptTokens, context, request.maxTokens);
    const demand = demandOf(request, prompt, maxTokens, this.owners.promptOf(request, prompt));
    try {
      await this.reserver.checkFits(demand);
      const pages = () => Math.max(0, ...this.models.workers(model).map((worker) => demand.pagesOn(worker)));
      ticket.charge({ promptTokens, maxTokens, bytes: bytesOf(prompt), pages });
      await this.#answer({ request, prompt, maxTokens, demand, ticket, lifetime, transcript });
    } finally {
      for (const { encoded } of prompt.pictures) giveBackMemory(encoded);
    }
  }

  /** Asks workers, one after the other, until the answer is complete or nobody else may be asked. */
  async #answer(job: Job): Promise<void> {
    this.failover.begun();
    const attempts = new Attempts();
    let reservation = await this.#admit(job);
    for (;;) {
      const fault = await this.#try(job, reservation, attempts);
      if (!fault) return;
      await pause(attempts.backoffMs(Math.random()), job.lifetime.signal);
      reservation = await this.#moveOn(job, reservation.record, fault);
    }
  }

  /** Resolves to the worker's fault where another one may be asked. */
  async #try(job: Job, reservation: Reservation, attempts: Attempts): Promise<KvcError | undefined> {
    const { demand, transcript, lifetime } = job;
    const had = transcript.tokenIds.length;
    this.#notePlacement(job, reservation);
    try {
      await this.#attempt(job, reservation);
      return undefined;
    } catch (error) {
      if (lifetime.signal.aborted) throw error;
      if (this.reserver.waitsOn(demand, reservation, error)) return error;
      if (!isWorkerFault(error)) throw error;
      this.#logFault(job, reservation, error);
      demand.failed.add(processOf(reservation.record));
      this.failover.check(error, attempts, reservation.record, transcript.tokenIds.length > had);
      return error;
    } finally {
      // neither the next attempt nor the client's last word waits for the ledger
      void this.reserver.release(reservation);
    }
  }

  /** Sets pages aside on another worker. An answer that has begun goes on there. */
  async #moveOn(job: Job, from: WorkerRecord, fault: KvcError): Promise<Reservation> {
    const { prompt, maxTokens, demand, transcript, lifetime } = job;
    const answered = transcript.tokenIds.length;
    const fingerprint = systemFingerprint(from);
    const hasOthers = this.reserver.hasOthers(demand);
    if (!hasOthers) forgive(demand, from, fault);
    let reservation: Reservation;
    if (answered > 0) {
      const longer = goingOn(demand, prompt, { maxTokens, answered });
      reservation = await this.failover.reserve({ demand: longer, fingerprint, fault, ...lifetime });
    } else {
      if (!hasOthers && fault.code !== 'WORKER_LOST') throw this.failover.givenUp(fault);
      job.ticket.vacate();
      reservation = await this.#admit(job).catch((error: unknown) => {
        // nobody was there in time, either
        throw !hasOthers && isNobody(error) ? this.failover.givenUp(fault) : error;
      });
    }
    if (fault.code !== 'NO_CAPACITY')
      this.failover.moved(answered, systemFingerprint(reservation.record) === fingerprint);
    return reservation;
  }

  #notePlacement({ request, demand, transcript }: Job, reservation: Reservation): void {
    const receipt = receiptOf(demand, reservation);
    transcript.place(receipt);
    this.telemetry.metrics.placements.inc({ reason: receipt.reason });
    this.receipts.note(request.id, receipt);
  }

  /** The one line that names the client's id beside the worker's: a request may meet several workers. */
  #logFault({ request, transcript }: Job, { record, key }: Reservation, { code }: KvcError): void {
    const ids = { requestId: request.id, workerId: record.workerId, workerRequestId: key.leaseId };
    this.#log.warn({ ...ids, code, tokens: transcript.tokenIds.length }, 'a worker gave a request up');
  }

  #admit({ request: { span }, demand, ticket, lifetime }: Job): Promise<Reservation> {
    const reserving = {
      run: (turn: Turn) => recorded(span, 'place and reserve', () => this.reserver.reserve(demand, turn)),
      pagesOf: ({ pages }: Reservation) => pages,
      giveBack: (won: Reservation) => void this.reserver.release(won),
    };
    return recorded(span, 'admission', () => ticket.enter(reserving, lifetime.deadlineMs, lifetime.signal));
  }

  async #attempt(job: Job, reservation: Reservation): Promise<void> {
    const { record, work, trial, ...reserved } = reservation;
    const { request, prompt, maxTokens, transcript, lifetime } = job;
    const { signal, deadlineMs } = lifetime;
    const remainingMs = deadlineMs - performance.now();
    const { tokenIds: resumedTokenIds } = transcript;
    transcript.lieWith(systemFingerprint(record));
    const span = request.span?.child('generate');
    span?.set({ 'kvcapsule.worker.id': record.workerId, 'kvcapsule.resumed_tokens': resumedTokenIds.length });
    const { traceparent } = span ?? {};
    const asked = { request, prompt, ...reserved, maxTokens, resumedTokenIds, remainingMs, traceparent };
    const message = generateMessage(asked);
    const files = prompt.pictures.map(({ encoded }) => encoded);
    try {
      await attempt(this.fleet.link(record), { message, files, work }, transcript, {
        ...{ signal, trial },
        unconfirmed: () => (reservation.isUnconfirmed = true),
      });
      span?.end();
    } catch (error) {
      span?.end(error instanceof KvcError ? error.code.toLowerCase() : 'internal');
      throw error;
    }
  }
}

/** Records how long something took, whatever came of it. */
async function recorded<T>(span: Span | undefined, name: string, task: () => Promise<T>): Promise<T> {
  if (!span) return task();
  const beganMs = performance.now();
  try {
    return await task();
  } finally {
    span.note(name, beganMs, performance.now());
  }
}

/** Of a revision's workers: those of another may do better. */
const REVISION_FAULTS: readonly ErrorCode[] = ['NO_WORKER', 'WORKER_LOST', 'STALE_EPOCH', 'DRAINING'];
const isOfRevision = (error: unknown): boolean =>
  error instanceof KvcError && REVISION_FAULTS.includes(error.code);

const isNobody = (error: unknown): boolean =>
  error instanceof KvcError && (error.code === 'NO_WORKER' || error.code === 'NO_CAPACITY');

/**
 * Where nobody is left, those that failed a request may be asked again: an engine may do better with its next step, and
 * a connection that broke says nothing of the process behind it. Not one that will take nothing any more.
 */
function forgive({ failed }: Demand, from: WorkerRecord, { code }: KvcError): void {
  failed.clear();
  if (code === 'DRAINING' || code === 'STALE_EPOCH') failed.add(processOf(from));
}

/** Bytes that a prompt keeps while it waits: a number of the heap a token, and its pictures. */
function bytesOf({ tokenIds, pictures }: PreparedPrompt): number {
  return pictures.reduce((sum, { encoded }) => sum + encoded.length, 8 * tokenIds.length);
}
