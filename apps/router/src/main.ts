import cluster from 'node:cluster';
import { KvcError } from '@kvcapsule/contracts/errors';
import { unreadVariables } from '@kvcapsule/platform/config';
import { createLogger, type Logger, logWarnings, outliveClosedPipes } from '@kvcapsule/platform/logging';
import { onEndSignals, outliveHangup } from '@kvcapsule/platform/processes';
import { readSettings } from './config.js';
import { tuneHeap } from './heap.js';
import type { Ready } from './processes/messages.js';
import { ProcessGroup } from './processes/process-group.js';
import { Siblings } from './processes/siblings.js';
import type { Settings } from './settings.js';

const tell = (ready: Ready) => process.stdout.write(`${JSON.stringify({ event: 'ready', ...ready })}\n`);

/** What serves is loaded only where it serves: it takes 100 MiB. */
async function serveHere(settings: Settings, logger: Logger, siblings: Siblings): Promise<Ready> {
  const { serve } = await import('./serve.js');
  return serve(settings, logger, siblings);
}

async function superviseProcesses(settings: Settings, logger: Logger): Promise<void> {
  const group = new ProcessGroup(settings, logger);
  onEndSignals({ first: () => group.stop(), again: () => group.kill() });
  void group.start().then(tell);
  process.exit(await group.ended);
}

outliveClosedPipes();
outliveHangup();
tuneHeap();
try {
  const logger = createLogger({ name: 'router', level: 'info' });
  logWarnings(logger);
  if (cluster.isWorker) {
    const siblings = new Siblings(process);
    siblings.ready(await serveHere(await Siblings.settings(process), logger, siblings));
  } else {
    const settings = readSettings(process.argv.slice(2), process.env);
    for (const line of [...unreadVariables(process.env, ['router']), ...(settings.tracing?.ignored ?? [])])
      logger.warn(line);
    if (settings.processes > 1) await superviseProcesses(settings, logger);
    else tell(await serveHere(settings, logger, new Siblings()));
  }
} catch (error) {
  const text = error instanceof KvcError ? `${error.code}: ${error.message}` : String(error);
  process.stderr.write(`kvcapsule serve router: ${text}\n`);
  process.exit(1);
}
