import { setTimeout as sleep } from 'node:timers/promises';
import { ClusterSnapshot } from '@kvcapsule/contracts/cluster';
import type { Command } from 'commander';
import {
  NobodyAnswers,
  requestJson,
  type Server,
  serverOf,
  serverOptions,
  type ServerOptions,
} from '../server.js';
import { statusScreen } from './screen.js';

const INTERVAL_MS = 1_000;
/** The cursor to the upper left, and nothing behind it. */
const CLEAR = '\u001b[H\u001b[J';

interface StatusOptions extends ServerOptions {
  readonly json?: true;
  readonly watch?: boolean;
}

const EXAMPLES = `
Examples:
  kvcapsule status                                on a terminal, anew every second until Ctrl-C
  kvcapsule status --no-watch                     once
  kvcapsule status --json | jq .totals.saved_bytes
  kvcapsule status --json --watch                 a line of JSON every second`;

export function registerStatus(program: Command): void {
  serverOptions(program.command('status').description('show routers and workers, what they do and hold'))
    .option('--watch', 'anew every second, also where this is no terminal')
    .option('--no-watch', 'once, also on a terminal')
    .option('--json', 'print JSON: the answer of GET /v1/cluster')
    .addHelpText('after', EXAMPLES)
    .action(status);
}

async function status(options: StatusOptions): Promise<void> {
  const server = serverOf(options);
  const isLive = options.watch ?? (process.stdout.isTTY && options.json === undefined);
  const write = options.json ? writeJson : writeScreen;
  write(await snapshotOf(server), server, isLive);
  if (!isLive) return;
  process.once('SIGINT', () => process.exit(0));
  for (;;) {
    await sleep(INTERVAL_MS);
    await snapshotOf(server).then(
      (snapshot) => {
        write(snapshot, server, true);
      },
      (error: unknown) => {
        // a router that starts anew is back soon
        if (!(error instanceof NobodyAnswers)) throw error;
        process.stderr.write(`${error.message}\n`);
      },
    );
  }
}

const snapshotOf = (server: Server): Promise<ClusterSnapshot> =>
  requestJson(server, '/v1/cluster', ClusterSnapshot);

function writeJson(snapshot: ClusterSnapshot, _server: Server, isLive: boolean): void {
  process.stdout.write(`${JSON.stringify(snapshot, null, isLive ? undefined : 2)}\n`);
}

function writeScreen(snapshot: ClusterSnapshot, { url }: Server, isLive: boolean): void {
  const { isTTY, columns, rows } = process.stdout;
  const size = isTTY ? { columns, rows: isLive ? rows : Infinity } : undefined;
  process.stdout.write((isLive && isTTY ? CLEAR : '') + statusScreen(snapshot, url, size));
}
