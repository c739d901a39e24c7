import { KvcError } from '@kvcapsule/contracts/errors';
import { unreadVariables } from '@kvcapsule/platform/config';
import { createLogger, outliveClosedPipes } from '@kvcapsule/platform/logging';
import { openCatalogue } from './catalogue/open-catalogue.js';
import { createApp, listen } from './app.js';
import { readSettings } from './config.js';
import { tuneHeap } from './heap.js';
import { Telemetry } from './operations/telemetry.service.js';
import { RedisPorts } from './redis-ports.adapter.js';

outliveClosedPipes();
tuneHeap();
try {
  const settings = readSettings(process.argv.slice(2), process.env);
  const logger = createLogger({ name: 'router', level: 'info' });
  for (const line of unreadVariables(process.env, ['router'])) logger.warn(line);
  const telemetry = new Telemetry();
  const catalogue = await openCatalogue(settings, telemetry);
  const ports = await RedisPorts.open(settings.redis, (line) => {
    logger.warn(line);
  });
  const app = await createApp({ settings, ports, catalogue, telemetry, logger });
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  const url = await listen(app, settings.host, settings.port);
  const models = catalogue.all.map(({ name }) => name);
  process.stdout.write(`${JSON.stringify({ event: 'ready', url, models })}\n`);
} catch (error) {
  const text = error instanceof KvcError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`kvcapsule serve router: ${text}\n`);
  process.exit(1);
}
