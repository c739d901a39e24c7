import { Controller, Get, Res } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { ModelCatalogue, type CatalogueEntry } from '../catalogue/model-catalogue.js';
import { ModelFleet } from '../catalogue/model-fleet.service.js';
import { Fleet } from '../fleet/fleet.service.js';
import { LedgerGuard } from '../placement/ledger-guard.service.js';
import { Ports } from '../ports.js';
import { Inflight } from './inflight.service.js';

interface Readiness {
  readonly status: 'ready' | 'degraded' | 'unready';
  readonly reasons: readonly string[];
}

@ApiTags('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly catalogue: ModelCatalogue,
    private readonly models: ModelFleet,
    private readonly fleet: Fleet,
    private readonly inflight: Inflight,
    private readonly ledger: LedgerGuard,
    private readonly ports: Ports,
  ) {}

  @Get('live')
  @ApiOperation({ summary: 'The process answers' })
  live(): { status: 'live' } {
    return { status: 'live' };
  }

  // vLLM calls it /health
  @Get(['ready', ''])
  @ApiOperation({
    summary: 'Requests can be answered, of some model at least; 503 with the reasons when not',
  })
  async ready(@Res() reply: FastifyReply): Promise<void> {
    const readiness = this.#readiness();
    await reply.status(readiness.status === 'unready' ? 503 : 200).send(readiness);
  }

  #readiness(): Readiness {
    const { all } = this.catalogue;
    const unserved = all.filter((model) => !this.models.isReady(model));
    const faults = [
      ...(this.inflight.draining ? ['the router is shutting down'] : []),
      ...unserved.map(({ name }) => `no worker is ready for model ${name}`),
      ...this.#storeAway(),
      ...(this.ports.storeFault === undefined ? [] : [this.ports.storeFault]),
    ];
    const reasons = [...faults, ...all.flatMap((model) => this.#mismatch(model))];
    if (this.inflight.draining || unserved.length === all.length) return { status: 'unready', reasons };
    return { status: faults.length > 0 ? 'degraded' : 'ready', reasons };
  }

  /** Why Redis is not gone by: of two reasons the longer one, which says what to do. */
  #storeAway(): string[] {
    const said = [this.fleet.storeFault, this.ledger.fault].filter((fault) => fault !== undefined);
    return said.sort((one, other) => other.length - one.length).slice(0, 1);
  }

  /**
   * Such workers look ready and are never asked: without this line nobody would see why. They take nothing away, so
   * a router is ready beside them, as it has to be for an upgrade of one machine after the other.
   */
  #mismatch(model: CatalogueEntry): string[] {
    const count = this.models.mismatched(model);
    if (count === 0) return [];
    const who = count === 1 ? '1 worker has' : `${count} workers have`;
    return [`${who} another tokenizer or template revision than this router for model ${model.name}`];
  }
}
