import { Controller, Get } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { ModelCatalogue } from '../catalogue/model-catalogue.js';
import { Fleet } from '../fleet/fleet.service.js';
import { Ports } from '../ports.js';

/** One group of a list that Prometheus' `http_sd_configs` reads. */
interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

const PATH = { __metrics_path__: '/metrics' };

@ApiTags('operations')
@Controller('metrics/targets')
export class TargetsController {
  constructor(
    private readonly fleet: Fleet,
    private readonly ports: Ports,
    private readonly catalogue: ModelCatalogue,
  ) {}

  @Get()
  @ApiOperation({
    summary:
      'Where all routers and workers of the cluster are scraped, as Prometheus’ HTTP service discovery',
  })
  list(): readonly TargetGroup[] {
    return [...this.#routers(), ...this.#workers()];
  }

  #routers(): readonly TargetGroup[] {
    return this.ports.addresses.map((address) => ({
      targets: [address],
      labels: { ...PATH, job: 'kvcapsule-router', id: address },
    }));
  }

  #workers(): readonly TargetGroup[] {
    return this.fleet.views().flatMap(({ record: { metricsAddress, workerId, modelId } }) => {
      if (metricsAddress === undefined) return [];
      const model = this.catalogue.servedName(modelId);
      const labels = { ...PATH, job: 'kvcapsule-worker', id: workerId };
      return { targets: [metricsAddress], labels: { ...labels, ...(model !== undefined && { model }) } };
    });
  }
}
