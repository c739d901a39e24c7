import type { LoadResult } from '@kvcapsule/load/results';
import type { Command } from 'commander';
import { wholeOf } from '../../numbers.js';
import { checkResults, keepResults } from '../../output.js';
import { registerCompare, tellComparison } from './compare.command.js';
import { loadReport } from './load-report.js';
import { addLoadFlags, addShapeFlags, type LoadFlags, parseLoadFlags } from './options.js';
import { measureBeside, type PeerOptions } from './peer.js';
import { defaultName, measureLoad, reachTarget } from './serve-load.js';
import { summaryText } from './serve-summary.js';
import { registerSweep } from './sweep.command.js';

const HELP = `
When requests come: --rate (an open loop, the default), --ramp, --concurrency (a closed loop) or --trace. An open loop
does not wait for the server, so a server that stands still is seen: latencies count from when a request was to be
sent, and the lag between that and the true send is reported. A closed loop asks less of a server that is slow.
Numbers of a load process that could not keep up itself are called INVALID (exit status 3).

The key of the server is read from an environment variable (--api-key-env); neither it nor headers are stored.
Ctrl-C ends a run with what has been measured, marked PARTIAL; a second one ends it at once.

Examples:
  kvcapsule bench serve --rate 5 --duration 60s --slo ttft=500ms,itl=50ms --out load.json
  kvcapsule bench serve --concurrency 16 --requests 500 --picture-share 0.5 --distinct-pictures 100
  kvcapsule bench serve --url https://HOST/v1 --model NAME --api-key-env KEY --ramp 1-50 --duration 5m
  kvcapsule bench serve --peer 'vllm serve FOLDER --port 8001' --concurrency 4 --requests 50 --rounds 5
  kvcapsule bench serve --trace mooncake.jsonl --trace-speed 2 --processes 2 --out trace.json

Guide: docs/guides/load-testing.md`;

const INVALID_STATUS = 3;

/** Results to the terminal, and to --out with their pages. */
async function tell(result: LoadResult, { out, json }: Pick<LoadFlags, 'out' | 'json'>): Promise<void> {
  if (json) process.stdout.write(`${JSON.stringify({ ...result, requests: undefined, gaps: undefined })}\n`);
  else process.stdout.write(summaryText(result));
  if (result.summary.invalid.length > 0) process.exitCode = INVALID_STATUS;
  if (out !== undefined) await keepResults(out, `${JSON.stringify(result)}\n`, loadReport(result));
}

interface ServeFlags extends LoadFlags {
  readonly peer?: string;
  readonly peerUrl: string;
  readonly peerModel?: string;
  readonly peerApiKeyEnv: string;
  readonly rounds: string;
}

/** The same load on the peer; our key is none of its business. */
function peerOf(
  { peerUrl, peerModel, peerApiKeyEnv, rounds, ...flags }: ServeFlags,
  peer: string,
): PeerOptions {
  const isRunning = /^https?:\/\//i.test(peer);
  const own = { url: isRunning ? peer : peerUrl, apiKeyEnv: peerApiKeyEnv };
  return {
    ...(!isRunning && { command: peer }),
    options: parseLoadFlags({ ...flags, ...own, model: peerModel }),
    rounds: wholeOf('--rounds', rounds, 1, 1_000),
  };
}

async function benchServe(flags: ServeFlags): Promise<void> {
  const options = parseLoadFlags(flags);
  if (flags.out !== undefined) await checkResults(flags.out);
  if (flags.peer !== undefined) {
    await tellComparison(await measureBeside(options, peerOf(flags, flags.peer)), flags);
    return;
  }
  const target = await reachTarget(options, (line) => process.stderr.write(`${line}\n`));
  await tell(await measureLoad(options, target, flags.name ?? defaultName(options)), flags);
}

export function registerBenchServe(bench: Command): void {
  const serve = bench
    .command('serve')
    .description('load any OpenAI-compatible server and measure what its users see');
  addShapeFlags(addLoadFlags(serve))
    .option('--name <text>', 'what the run is called in its results')
    .option('--out <file>', 'results as JSON; .md and .html are written beside it')
    .option('--json', 'print the summary as JSON', false)
    .option(
      '--peer <command|url>',
      'another server that takes turns with this one; a command is started, and ended after',
    )
    .option('--peer-url <url>', 'where a peer that is started listens', 'http://127.0.0.1:8001')
    .option('--peer-model <id>', 'its model (default: the first that it lists)')
    .option('--peer-api-key-env <name>', 'environment variable that holds its key', 'KVCAPSULE_PEER_API_KEY')
    .option('--rounds <n>', 'rounds of both, each in the other order', '5')
    .addHelpText('after', HELP)
    .action(benchServe);
  registerCompare(serve);
  registerSweep(serve);
}
