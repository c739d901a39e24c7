import { ClusterPages, ClusterRequestDetail, ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import { createRedisClient, readLedger, type RedisSettings } from '@kvcapsule/platform/redis';
import { isLocal, serverRoot } from '@kvcapsule/platform/http';
import type { Command } from 'commander';
import { CliError } from '../failure.js';
import { stateDirs } from '../paths.js';
import { redisSettingsOf, withoutRedis } from '../redis-settings.js';
import { requestJson, serverOf, serverOptions, type ServerOptions, urlOption } from '../server.js';
import { redisOption } from '../up/options.js';
import { readRunFile } from '../up/run-file.js';
import { requestDetails, workerDetails } from './details.js';
import { ledgerScreen } from './ledger-screen.js';
import { pageMap } from './page-map.js';

interface Options extends ServerOptions {
  readonly json?: true;
  readonly serial?: string;
}

const EXAMPLES = `
Examples:
  kvcapsule inspect request 4bf92f35-77b3-4da6-a3ce-929d0e0e4736    by its x-request-id
  kvcapsule inspect worker worker-0
  kvcapsule inspect pages worker-0                                 a map of its pool
  kvcapsule inspect ledger                                         every lease, and the sums, of an up on this machine
  KVCAPSULE_REDIS=redis://store:6379 kvcapsule inspect ledger      the same of another cluster`;

export function registerInspect(program: Command): void {
  const inspect = program
    .command('inspect')
    .description('look at one request, a worker, its pages, or the ledger')
    .addHelpText('after', EXAMPLES);
  subject(
    inspect,
    'request',
    'where a request is or was, its times, and why its workers had it',
    'id',
    showRequest,
  ).option('--serial <number>', 'which of several requests with that id (default: the newest)');
  subject(inspect, 'worker', 'everything that a router knows of a worker', 'id', showWorker);
  subject(inspect, 'pages', 'what each page of a worker’s pool holds', 'worker', showPages);
  inspect
    .command('ledger')
    .description('leases by worker and the sums against capacity, read from Redis')
    .addOption(redisOption('Redis of the cluster (default: that of `up` at the URL, on this machine)'))
    .addOption(urlOption())
    .option('--json', 'print JSON')
    .action(showLedger);
}

type Show = (id: string, options: Options) => Promise<string>;

function subject(inspect: Command, name: string, description: string, argument: string, show: Show): Command {
  return serverOptions(
    inspect.command(name).description(description).argument(`<${argument}>`, argumentOf[argument]),
  )
    .option('--json', 'print JSON')
    .action(async (id: string, options: Options) => {
      process.stdout.write(await show(id, options));
    });
}

const argumentOf: Readonly<Record<string, string>> = { id: 'its id', worker: 'id of the worker' };

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const showRequest: Show = async (id, options) => {
  const which = options.serial === undefined ? '' : `?serial=${encodeURIComponent(options.serial)}`;
  const path = `/v1/cluster/requests/${encodeURIComponent(id)}${which}`;
  const detail = await requestJson(serverOf(options), path, ClusterRequestDetail);
  return options.json ? json(detail) : requestDetails(detail);
};

const showWorker: Show = async (id, options) => {
  const { workers } = await requestJson(serverOf(options), '/v1/cluster', ClusterSnapshot);
  const worker = workers.find((one) => one.id === id);
  if (!worker)
    throw new CliError(
      `There is no worker ${id}.`,
      `There are: ${workers.map((one) => one.id).join(', ') || 'none'}`,
    );
  return options.json ? json(worker) : workerDetails(worker);
};

const showPages: Show = async (id, options) => {
  const path = `/v1/cluster/workers/${encodeURIComponent(id)}/pages`;
  const pages = await requestJson(serverOf(options), path, ClusterPages);
  return options.json ? json(pages) : pageMap(pages);
};

interface LedgerOptions {
  readonly redis?: string;
  readonly url: string;
  readonly json?: true;
}

/** @throws CliError where neither an option nor an `up` of this user and machine says which Redis it is */
function storeOf({ redis, url }: LedgerOptions): RedisSettings {
  const name = 'kvcapsule inspect ledger';
  if (redis !== undefined) return redisSettingsOf(redis, name);
  const server = new URL(serverRoot(url));
  const run = readRunFile(stateDirs(), server.port);
  if (run !== undefined && isLocal(server.href))
    return redisSettingsOf(run.redisUrl, name, withoutRedis(process.env));
  throw new CliError(
    `No \`up\` with a Redis of its own listens at ${server.origin} and was started by this user.`,
    'Name the Redis of the cluster (--redis or KVCAPSULE_REDIS), or with --url where `up` listens.',
  );
}

async function showLedger(options: LedgerOptions): Promise<void> {
  const client = await createRedisClient(storeOf(options));
  try {
    const views = await readLedger(client);
    process.stdout.write(options.json ? json(views) : ledgerScreen(views));
  } finally {
    client.disconnect();
  }
}
