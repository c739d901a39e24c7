import type { Logger } from '@kvcapsule/platform/logging';
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_FILTER, APP_PIPE } from '@nestjs/core';
import { Admission } from './admission/admission.service.js';
import { ModelCatalogue } from './catalogue/model-catalogue.js';
import { ModelFleet } from './catalogue/model-fleet.service.js';
import { ClusterFeed } from './cluster/cluster-feed.service.js';
import { ClusterStatus } from './cluster/cluster-status.service.js';
import { RequestLog } from './cluster/request-log.service.js';
import { ClusterController } from './edge/cluster.controller.js';
import { BodyValidationPipe } from './edge/body-validation.pipe.js';
import { ChatController } from './edge/chat.controller.js';
import { Pacer } from './edge/answer/pacer.service.js';
import { PlacementController } from './edge/placement.controller.js';
import { ErrorFilter } from './edge/error.filter.js';
import { Routes } from './edge/http/routes.js';
import { ModelsController } from './edge/models.controller.js';
import { Fleet } from './fleet/fleet.service.js';
import { Failover } from './generation/failover.service.js';
import { GenerationService } from './generation/generation.service.js';
import { Exposition } from './operations/exposition.service.js';
import { ConsolePage } from './operations/console.js';
import { HealthController } from './operations/health.controller.js';
import { Inflight } from './operations/inflight.service.js';
import { LandingController } from './operations/landing.controller.js';
import { MetricsController } from './operations/metrics.controller.js';
import { TargetsController } from './operations/targets.controller.js';
import { Telemetry } from './operations/telemetry.service.js';
import { WorkerAdmissionController } from './operations/worker-admission.controller.js';
import { Explainer } from './placement/explainer.service.js';
import { Receipts } from './placement/receipts.service.js';
import { Placement } from './placement/placement.service.js';
import { Owners } from './owners/owners.service.js';
import { LedgerGuard } from './placement/ledger-guard.service.js';
import { Reserver } from './placement/reserver.service.js';
import { Ports } from './ports.js';
import { Siblings } from './processes/siblings.js';
import { Settings } from './settings.js';

/** What differs between a served router and one under test. */
export interface Environment {
  readonly settings: Settings;
  readonly ports: Ports;
  readonly catalogue: ModelCatalogue;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly siblings: Siblings;
}

@Module({})
export class AppModule {
  static with(
    { settings, ports, catalogue, telemetry, siblings }: Environment,
    routes: Routes,
  ): DynamicModule {
    return {
      module: AppModule,
      controllers: [
        ChatController,
        ModelsController,
        PlacementController,
        ClusterController,
        HealthController,
        MetricsController,
        TargetsController,
        LandingController,
        WorkerAdmissionController,
      ],
      providers: [
        Admission,
        ClusterFeed,
        ClusterStatus,
        ConsolePage,
        Exposition,
        Failover,
        Fleet,
        GenerationService,
        Inflight,
        Placement,
        Owners,
        LedgerGuard,
        Explainer,
        Receipts,
        RequestLog,
        Reserver,
        ModelFleet,
        Pacer,
        { provide: Telemetry, useValue: telemetry },
        { provide: Routes, useValue: routes },
        { provide: Settings, useValue: settings },
        { provide: Siblings, useValue: siblings },
        { provide: Ports, useValue: ports },
        { provide: ModelCatalogue, useValue: catalogue },
        { provide: APP_FILTER, useClass: ErrorFilter },
        { provide: APP_PIPE, useClass: BodyValidationPipe },
      ],
    };
  }
}
