import cluster from 'node:cluster';
import { hostname } from 'node:os';
import type { Logger } from '@kvcapsule/platform/logging';
import { onEndSignals } from '@kvcapsule/platform/processes';
import { addVllmRouterMetrics, watchEventLoop } from '@kvcapsule/platform/telemetry';
import { startTracing } from '@kvcapsule/platform/tracing';
import { createApp, listen } from './app.js';
import { openCatalogue } from './catalogue/open-catalogue.js';
import { Telemetry } from './operations/telemetry.service.js';
import type { Ready } from './processes/messages.js';
import type { Siblings } from './processes/siblings.js';
import { RedisPorts } from './redis-ports.adapter.js';
import { routerIdOf } from './router-record.js';
import type { Settings } from './settings.js';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/**
 * Whoever does not want to wait for the answers under way says so again. One of several processes goes by the one that
 * started it, which tells it of a Ctrl-C that it has heard itself.
 */
function endAtSecondSignal(): void {
  if (cluster.isPrimary) onEndSignals({ first: () => undefined, again: () => process.exit(1) });
}

/** An address that other machines may reach it at, too: of one that listens on all, by the name of this machine. */
function reachable(url: string): string {
  const { hostname: host, port } = new URL(url);
  return `${['0.0.0.0', '[::]'].includes(host) ? hostname() : host}:${port}`;
}

/**
 * Serves in this process until a signal ends it, its answers first; a second one does at once. Resolves once it
 * listens.
 */
export async function serve(settings: Settings, logger: Logger, siblings: Siblings): Promise<Ready> {
  const routerId = routerIdOf(settings.routerId, cluster.worker?.id);
  const part = { service: 'kvcapsule-router', instance: routerId };
  const tracing = await startTracing(part, settings.tracing, logger);
  const telemetry = new Telemetry(tracing);
  watchEventLoop(telemetry.metrics);
  if (settings.metricsCompat === 'vllm') addVllmRouterMetrics(telemetry.metrics);
  const catalogue = await openCatalogue(settings, telemetry);
  const ports = await RedisPorts.open(settings.redis, routerId, telemetry.metrics, (line) => {
    logger.warn(line);
  });
  logger.info({ routerId }, 'registered');
  const app = await createApp({ settings, ports, catalogue, telemetry, logger, siblings });
  app.enableShutdownHooks([...SIGNALS], { useProcessExit: true });
  endAtSecondSignal();
  const url = await listen(app, settings.host, settings.port);
  await ports.listensAt(settings.advertise ?? reachable(url));
  return { url, models: catalogue.all.map(({ name }) => name) };
}
