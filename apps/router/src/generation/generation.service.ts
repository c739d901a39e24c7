import { type ErrorCode, KvcError } from '@kvcapsule/contracts/errors';
import { answerTokens, checkPromptTokens } from '@kvcapsule/domain/request';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Admission } from '../admission/admission.service.js';
import type { Ticket } from '../admission/ticket.js';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { Fleet } from '../fleet/fleet.service.js';
import { giveBackMemory } from '../heap.js';
import { Inflight, type Lifetime } from '../operations/inflight.service.js';
import { Telemetry } from '../operations/telemetry.service.js';
import { Owners } from '../owners/owners.service.js';
import { type Demand, demandOf } from '../placement/demand.js';
import { receiptOf } from '../placement/receipt.js';
import { type Reservation, Reserver } from '../placement/reserver.service.js';
import { Ports } from '../ports.js';
import { Settings } from '../settings.js';
import { attempt } from './attempt.js';
import { generateMessage } from './generate-message.js';
import type { GenerationRequest } from './generation.js';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { Transcript } from './transcript.js';

/** Of this worker rather than of the request: while the client has been sent nothing, another may answer. */
const WORKER_FAULTS: readonly ErrorCode[] = [
  'WORKER_LOST',
  'STALE_EPOCH',
  'NO_WORKER',
  'DRAINING',
  'NO_CAPACITY',
];
const isWorkerFault = (error: unknown): error is KvcError =>
  error instanceof KvcError && WORKER_FAULTS.includes(error.code);

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
    private readonly inflight: Inflight,
    private readonly telemetry: Telemetry,
    private readonly owners: Owners,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.catalogue.close(), this.ports.close()]);
  }

  /**
   * Begins a generation, whose transcript tells of everything from here on: refusals and faults (`KvcError`s) are
   * its end. It is aborted when its last subscriber leaves. Throws `DRAINING` while the router shuts down.
   */
  begin(request: GenerationRequest): Transcript {
    const lifetime = this.inflight.open();
    const transcript = new Transcript({
      windowBytes: this.settings.windowBytes,
      scored: request.topLogprobs !== undefined,
      owner: { abandoned: lifetime.abort, closed: lifetime.close },
      observer: this.telemetry.observe(),
    });
    this.#run(request, transcript, lifetime).catch((fault: unknown) => {
      transcript.fail(fault);
    });
    return transcript;
  }

  async #run(request: GenerationRequest, transcript: Transcript, lifetime: Lifetime): Promise<void> {
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
    const prompt = await model.preparer.prepare(request.turns, lifetime.signal);
    const context = this.models.contextTokens(model);
    const promptTokens = prompt.tokenIds.length;
    checkPromptTokens(promptTokens, context);
    transcript.accept();
    const maxTokens = answerTokens(promptTokens, context, request.maxTokens);
    const demand = demandOf(request, prompt, maxTokens, this.owners.heldOf(request, prompt));
    try {
      await this.reserver.checkFits(demand);
      const pages = () => Math.max(0, ...this.models.workers(model).map((worker) => demand.pagesOn(worker)));
      ticket.charge({ promptTokens, maxTokens, bytes: bytesOf(prompt), pages });
      await this.#answer({ request, prompt, maxTokens, demand, ticket, lifetime, transcript });
    } finally {
      for (const { encoded } of prompt.pictures) giveBackMemory(encoded);
    }
  }

  /** Tries workers until one has answered or nobody else may be asked. */
  async #answer(job: Job): Promise<void> {
    const { demand, transcript } = job;
    for (;;) {
      const reservation = await this.#admit(job);
      this.#notePlacement(job, reservation);
      try {
        await this.#attempt(job, reservation);
        return;
      } catch (error) {
        if (this.reserver.waitsOn(demand, reservation, error)) continue;
        this.#logFault(job, reservation, error);
        demand.failed.add(reservation.record.workerId);
        const mayRetry = isWorkerFault(error) && transcript.canRestart && this.reserver.hasOthers(demand);
        if (!mayRetry) throw error;
        transcript.restart();
      } finally {
        // neither the next attempt nor the client's last word waits for the ledger
        void this.reserver.release(reservation);
        job.ticket.vacate();
      }
    }
  }

  #notePlacement({ request, demand, transcript }: Job, reservation: Reservation): void {
    const receipt = receiptOf(demand, reservation);
    transcript.receipt = receipt;
    this.telemetry.metrics.placements.inc({ reason: receipt.reason });
    this.#log.debug({ requestId: request.id, ...receipt }, 'a worker was found');
  }

  /** The one line that names the client's id beside the worker's: a request may meet several workers. */
  #logFault({ request, transcript, lifetime }: Job, { record, key }: Reservation, error: unknown): void {
    if (lifetime.signal.aborted || !isWorkerFault(error)) return;
    const ids = { requestId: request.id, workerId: record.workerId, workerRequestId: key.leaseId };
    this.#log.warn({ ...ids, code: error.code, begun: !transcript.canRestart }, 'a worker gave a request up');
  }

  #admit({ demand, ticket, lifetime }: Job): Promise<Reservation> {
    const reserving = {
      run: () => this.reserver.reserve(demand),
      giveBack: (won: Reservation) => void this.reserver.release(won),
    };
    return ticket.enter(reserving, lifetime.deadlineMs, lifetime.signal);
  }

  #attempt(job: Job, { record, work, ...reserved }: Reservation): Promise<void> {
    const { request, prompt, maxTokens, transcript, lifetime } = job;
    const { signal, deadlineMs } = lifetime;
    const remainingMs = deadlineMs - performance.now();
    const message = generateMessage({ request, prompt, ...reserved, maxTokens, remainingMs });
    const files = prompt.pictures.map(({ encoded }) => encoded);
    return attempt(this.fleet.link(record), { message, files, work }, transcript, signal);
  }
}

/** Bytes that a prompt keeps while it waits: a number of the heap a token, and its pictures. */
function bytesOf({ tokenIds, pictures }: PreparedPrompt): number {
  return pictures.reduce((sum, { encoded }) => sum + encoded.length, 8 * tokenIds.length);
}
