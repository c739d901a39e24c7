import { Controller, Get } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
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
    return this.fleet.views().flatMap(({ record: { metricsAddress, workerId, modelId } }) =>
      metricsAddress === undefined
        ? []
        : {
            targets: [metricsAddress],
            labels: { ...PATH, job: 'kvcapsule-worker', id: workerId, model: modelId },
          },
    );
  }
}
