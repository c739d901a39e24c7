import { Controller, Get, Res } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Fleet } from '../fleet/fleet.service.js';
import { Settings } from '../settings.js';
import { Inflight } from './inflight.service.js';

interface Readiness {
  readonly status: 'ready' | 'degraded' | 'unready';
  readonly reasons: readonly string[];
}

@ApiTags('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly settings: Settings,
    private readonly fleet: Fleet,
    private readonly inflight: Inflight,
  ) {}

  @Get('live')
  @ApiOperation({ summary: 'The process answers' })
  live(): { status: 'live' } {
    return { status: 'live' };
  }

  @Get('ready')
  @ApiOperation({ summary: 'New requests can be answered; 503 with the reasons when not' })
  async ready(@Res() reply: FastifyReply): Promise<void> {
    const readiness = this.#readiness();
    await reply.status(readiness.status === 'unready' ? 503 : 200).send(readiness);
  }

  #readiness(): Readiness {
    const workers = this.fleet.views().map(({ record }) => record);
    const serving = workers.filter(
      (w) => w.load.state === 'ready' && w.modelId === this.settings.workerModelId,
    );
    const faults = [
      ...(this.inflight.draining ? ['the router is shutting down'] : []),
      ...(serving.length === 0 ? ['no worker is ready for this model'] : []),
    ];
    const away = this.fleet.storeAvailable ? [] : ['Redis does not answer'];
    if (faults.length > 0) return { status: 'unready', reasons: [...faults, ...away] };
    return { status: away.length > 0 ? 'degraded' : 'ready', reasons: away };
  }
}
