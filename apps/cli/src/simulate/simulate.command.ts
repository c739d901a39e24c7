import { createLogger, logWarnings } from '@kvcapsule/platform/logging';
import { onEndSignals, terminalSignals } from '@kvcapsule/platform/processes';
import { RedisLedger, RedisRegistry } from '@kvcapsule/platform/redis';
import { openSimulatedModel, type SimulatedWorkers, startSimulatedWorkers } from '@kvcapsule/simulation';
import type { Command } from 'commander';
import { type SimulateOptions, simulateOptions } from './options.js';
import { type Counts, endedLine, startedScreen } from './screen.js';
import { openStore } from './store.js';

const MIB = 2 ** 20;
const DRAIN_MS = 2_500;

export function registerSimulate(program: Command): void {
  simulateOptions(
    program.command('simulate').description('run workers that keep time and compute nothing, until Ctrl-C'),
  ).action(simulate);
}

async function simulate(options: SimulateOptions): Promise<void> {
  const { workers, speedup, answerTokens, host, idPrefix } = options;
  const logger = createLogger({ name: 'simulate', level: 'warn' });
  logWarnings(logger);
  const model = await openSimulatedModel(options.model, options.engine);
  const store = await openStore(options.redis, (line) => {
    logger.warn(line);
  });
  try {
    const fleet = await startSimulatedWorkers(workers, {
      ...{ model, logger, speedup, answerTokens, host, idPrefix },
      registry: new RedisRegistry(store.client),
      ledger: new RedisLedger(store.client),
      poolBlocks: Math.max(1, Math.floor((options.poolMib * MIB) / model.engine.info.blockBytes)),
    });
    const { privateUrl } = store;
    process.stdout.write(
      startedScreen({ workers, model: model.id, modelFolder: options.model, speedup, privateUrl }),
    );
    await stopSignal();
    await fleet.drain(DRAIN_MS);
    await fleet.close();
    process.stdout.write(await ended(fleet));
  } finally {
    await store.close();
    await model.folder.dispose();
  }
}

/** First signal: an orderly stop. Second: an end at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    onEndSignals({ signals: terminalSignals(), first: resolve, again: () => process.exit(1) });
  });
}

async function ended({ metrics }: SimulatedWorkers): Promise<string> {
  const [requests, tokens] = await Promise.all([metrics.requests.get(), metrics.tokens.get()]);
  return endedLine(countsOf(requests.values), countsOf(tokens.values));
}

function countsOf(
  values: readonly { readonly labels: Partial<Record<string, string | number>>; readonly value: number }[],
): Counts {
  return new Map(values.map(({ labels, value }) => [String(Object.values(labels)[0]), value]));
}
