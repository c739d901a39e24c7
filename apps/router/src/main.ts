import { KvcError } from '@kvcapsule/contracts/errors';
import { createLogger, outliveClosedPipes } from '@kvcapsule/platform/logging';
import { createApp, listen } from './app.js';
import { readSettings } from './config.js';
import { Telemetry } from './operations/telemetry.service.js';
import { ModelPreparer } from './prepare/model-preparer.adapter.js';
import { RedisPorts } from './redis-ports.adapter.js';

outliveClosedPipes();
try {
  const settings = readSettings(process.argv.slice(2), process.env);
  const logger = createLogger({ name: 'router', level: 'info' });
  const telemetry = new Telemetry();
  const preparer = await ModelPreparer.open(settings, telemetry);
  const ports = await RedisPorts.open(settings.redisUrl);
  const app = await createApp({ settings, ports, preparer, telemetry, logger });
  app.enableShutdownHooks(['SIGTERM', 'SIGINT'], { useProcessExit: true });
  const url = await listen(app, settings.host, settings.port);
  process.stdout.write(`${JSON.stringify({ event: 'ready', url, models: [settings.modelName] })}\n`);
} catch (error) {
  const text = error instanceof KvcError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`kvcapsule serve router: ${text}\n`);
  process.exit(1);
}
