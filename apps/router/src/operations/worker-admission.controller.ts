import type { ClusterAdmission } from '@kvcapsule/contracts/cluster';
import { Controller, HttpCode, Param, Post } from '@nestjs/common';
import { ApiBearerAuth, ApiDefaultResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { openApi } from '../edge/open-api.js';
import { Fleet } from '../fleet/fleet.service.js';

/** Takes a worker out of service, and back; it tells every router by itself. */
@ApiTags('operations')
@ApiBearerAuth()
@Controller('v1/cluster/workers')
export class WorkerAdmissionController {
  constructor(private readonly fleet: Fleet) {}

  @Post(':id/drain')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Has a worker take no more requests and let its answers end; needs an admin key',
  })
  @ApiOkResponse({ schema: openApi('ClusterAdmission') })
  @ApiDefaultResponse({ description: 'No such worker, or it does not answer', schema: openApi('Error') })
  drain(@Param('id') id: string): Promise<ClusterAdmission> {
    return this.#set(id, false);
  }

  @Post(':id/resume')
  @HttpCode(200)
  @ApiOperation({ summary: 'Has a worker take requests again; needs an admin key' })
  @ApiOkResponse({ schema: openApi('ClusterAdmission') })
  @ApiDefaultResponse({ description: 'No such worker, or it ends', schema: openApi('Error') })
  resume(@Param('id') id: string): Promise<ClusterAdmission> {
    return this.#set(id, true);
  }

  async #set(worker: string, open: boolean): Promise<ClusterAdmission> {
    const { running, waiting } = await this.fleet.setAdmission(worker, open);
    return { object: 'cluster.admission', worker, open, running, waiting };
  }
}
