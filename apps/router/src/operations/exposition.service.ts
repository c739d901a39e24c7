import {
  exposeTogether,
  type Format,
  metricsOfProcess,
  type ProcessMetrics,
} from '@kvcapsule/platform/telemetry';
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Admission } from '../admission/admission.service.js';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { Fleet } from '../fleet/fleet.service.js';
import { Owners } from '../owners/owners.service.js';
import { LedgerGuard } from '../placement/ledger-guard.service.js';
import { Ports } from '../ports.js';
import { Siblings } from '../processes/siblings.js';
import { Inflight } from './inflight.service.js';
import { Telemetry } from './telemetry.service.js';

/** The router's metrics as they are told: those of all its processes, whichever of them is asked. */
@Injectable()
export class Exposition implements OnApplicationBootstrap {
  constructor(
    private readonly telemetry: Telemetry,
    private readonly fleet: Fleet,
    private readonly inflight: Inflight,
    private readonly admission: Admission,
    private readonly owners: Owners,
    private readonly ledger: LedgerGuard,
    private readonly siblings: Siblings,
    private readonly ports: Ports,
    private readonly catalogue: ModelCatalogue,
    private readonly models: ModelFleet,
  ) {}

  onApplicationBootstrap(): void {
    this.siblings.collectWith(() => this.#collect());
  }

  async text(format: Format): Promise<string> {
    const together = this.siblings.scrape(format);
    return together ?? exposeTogether([await this.#collect()], format);
  }

  #collect(): Promise<ProcessMetrics> {
    this.#measure();
    return metricsOfProcess(this.telemetry.metrics);
  }

  #measure(): void {
    const { metrics, running } = this.telemetry;
    metrics.requestsRunning.set(running);
    metrics.requestsWaiting.set(Math.max(0, this.inflight.size - running));
    metrics.ledgerAway.set(Number(this.ledger.isOpen));
    metrics.workers.set(this.fleet.views().length);
    metrics.processes.set(1);
    metrics.streamsStalled.set(this.telemetry.stalled(performance.now()));
    for (const model of this.catalogue.all)
      metrics.modelWorkers.set({ model: model.name }, this.models.ready(model));
    this.admission.measure();
    this.owners.measure();
    this.#measureBreakers();
    this.#measureStore();
    this.#measureRegistry();
  }

  #measureStore(): void {
    const { storeMemory } = this.ports;
    if (!storeMemory) return;
    this.telemetry.metrics.storeMemory.set(storeMemory.usedBytes);
    this.telemetry.metrics.storeMemoryLimit.set(storeMemory.limitBytes);
  }

  #measureBreakers(): void {
    const { breakers, breakerOpenings } = this.telemetry.metrics;
    for (const [state, count] of Object.entries(this.fleet.breakers())) breakers.set({ state }, count);
    breakerOpenings.reset();
    breakerOpenings.inc(this.fleet.openings);
  }

  /** What the registry counts by itself. */
  #measureRegistry(): void {
    const { figures } = this.fleet;
    if (!figures) return;
    const { registryAge, registryEntries, registryGaps } = this.telemetry.metrics;
    registryAge.set(figures.ageMs / 1_000);
    registryEntries.reset();
    registryEntries.inc({ outcome: 'taken' }, figures.entries - figures.skipped);
    registryEntries.inc({ outcome: 'skipped' }, figures.skipped);
    registryGaps.reset();
    registryGaps.inc(figures.gaps);
  }
}
