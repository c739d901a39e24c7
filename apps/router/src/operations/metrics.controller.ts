import { CONTENT_TYPES, formatOf } from '@kvcapsule/platform/telemetry';
import { Controller, Get, Res } from '@nestjs/common';
import { ApiOperation, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Exposition } from './exposition.service.js';

@ApiTags('operations')
@Controller('metrics')
export class MetricsController {
  constructor(private readonly exposition: Exposition) {}

  @Get()
  @ApiOperation({ summary: 'Metrics of all processes of the router in the Prometheus text format' })
  @ApiProduces('text/plain', 'application/openmetrics-text')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    const format = formatOf(reply.request.headers.accept);
    const text = await this.exposition.text(format);
    await reply.type(CONTENT_TYPES[format]).send(text);
  }
}
