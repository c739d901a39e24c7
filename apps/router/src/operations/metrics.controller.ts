import { Controller, Get, Res } from '@nestjs/common';
import { ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Admission } from '../admission/admission.service.js';
import { Fleet } from '../fleet/fleet.service.js';
import { Owners } from '../owners/owners.service.js';
import { LedgerGuard } from '../placement/ledger-guard.service.js';
import { Inflight } from './inflight.service.js';
import { Telemetry } from './telemetry.service.js';

@ApiTags('operations')
@Controller('metrics')
export class MetricsController {
  constructor(
    private readonly telemetry: Telemetry,
    private readonly fleet: Fleet,
    private readonly inflight: Inflight,
    private readonly admission: Admission,
    private readonly owners: Owners,
    private readonly ledger: LedgerGuard,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Metrics in the Prometheus text format' })
  @ApiProduces('text/plain')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const { metrics, running } = this.telemetry;
    metrics.requestsRunning.set(running);
    metrics.requestsWaiting.set(Math.max(0, this.inflight.size - running));
    metrics.ledgerAway.set(Number(this.ledger.isOpen));
    metrics.workers.set(this.fleet.views().length);
    this.admission.measure();
    this.owners.measure();
    await reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  }
}
