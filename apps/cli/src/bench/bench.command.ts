import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { chooseFormat } from '@kvcapsule/domain/storage';
import { loadBinding, storedDtype, WEIGHT_TYPES, type Codec, type Engine } from '@kvcapsule/engine';
import { readSpecification } from '@kvcapsule/model/folder';
import { type Command, Option } from 'commander';
import { checkResults, writeReport } from '../output.js';
import { commitOf, machineName } from '@kvcapsule/reporting';
import { CliError } from '../failure.js';
import { DEFAULT_MODEL_DIR, ROOT } from '../paths.js';
import { bytesPerWeight, type DecoderGeometry, stepParameters, type Storage } from './ceilings.js';
import { writeGguf } from './gguf.js';
import { measurePictures, measureText, openBenchEngine, type Point } from './measure.js';
import { parseBenchFlags, type BenchFlags, type BenchOptions } from './options.js';
import { LlamaSide, PeerSide } from './peer-side.js';
import { engineReport } from './engine-report.js';
import { OWN, storageOf, type BenchReport } from './report.js';
import { registerBenchServe } from './serve/serve.command.js';
import { spread } from './spread.js';

const run = promisify(execFile);
/** More than any last-level cache keeps for one process. */
const MEMORY_BYTES = 1 << 30;

type Report = (line: string) => void;

/** Builds llama.cpp's driver, or finds it built. */
async function llamaDriver(log: Report): Promise<string> {
  log('llama.cpp: building or looking at the build (minutes the first time) ...');
  try {
    const { stdout } = await run(process.execPath, [join(ROOT, 'tools/build-llama.mjs')], {
      maxBuffer: 1 << 26,
    });
    return stdout.trim();
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    throw new CliError(`llama.cpp does not build: ${stderr.trim().split('\n').slice(-3).join(' / ')}`);
  }
}

async function startPeers(options: BenchOptions, folder: string, log: Report): Promise<PeerSide[]> {
  const peers: PeerSide[] = [];
  const threads = String(options.threads);
  for (const name of options.peers) {
    if (name === 'llama.cpp') {
      const gguf = join(folder, 'text.gguf');
      await writeGguf(options.model, options.peerWeights, gguf);
      peers.push(new LlamaSide(name, await llamaDriver(log), [gguf, threads]));
    } else {
      const script = join(ROOT, 'bench/transformers_peer.py');
      peers.push(new PeerSide(name, options.python, [script, options.model, threads, options.peerWeights]));
    }
  }
  return peers;
}

/** How each codec that the engine has stores a picture of the demo's kind. */
function storages(engine: Engine, codecs: readonly Codec[]): Partial<Record<Codec, Storage>> {
  const { info } = engine;
  const found: Partial<Record<Codec, Storage>> = {};
  for (const codec of codecs) {
    const format = info.formats.findLast((one) => one.codec === codec);
    if (format === undefined) continue;
    const tokens = format.tokens || 1024;
    const markerRows = [...format.markerRows];
    const choice = chooseFormat(info, codec, { length: tokens, markerRows });
    if (choice) {
      const held = {
        codec,
        tokens,
        pages: choice.pages,
        restRows: choice.restRows.length,
        macsShare: format.macsShare,
      };
      found[codec] = storageOf(info, held);
    }
  }
  return found;
}

function pointLine(point: Point): string {
  const times = Object.entries(point.seconds).map(
    ([side, seconds]) => `${side} ${(spread(seconds).median * 1e3).toFixed(3)} ms`,
  );
  return `${point.content} ${point.kind}, batch ${point.batch}, ${point.context} tokens: ${times.join(', ')}`;
}

async function measure(options: BenchOptions, command: string, log: Report): Promise<BenchReport> {
  const { text } = await readSpecification(options.model);
  const { layers, hidden, intermediate, heads, kvHeads, headDim, vocab } = text;
  const sizes = { layers, hidden, intermediate, heads, kvHeads, headDim, vocab };
  const geometry: DecoderGeometry = { name: basename(options.model), ...sizes };
  const weightBytes = stepParameters(geometry) * bytesPerWeight(geometry, options.weights);
  const binding = await loadBinding();
  const begin = loadavg()[0] ?? 0;
  const roof = binding.measureRoof(options.threads, MEMORY_BYTES);
  const cacheRoof = binding.measureRoof(options.threads, Math.max(1 << 20, Math.ceil(weightBytes)));
  const folder = await mkdtemp(join(tmpdir(), 'kvcapsule-bench-'));
  const engine = await openBenchEngine(options);
  let peers: PeerSide[] = [];
  const points: Point[] = [];
  const onPoint = (point: Point) => {
    points.push(point);
    log(pointLine(point));
  };
  try {
    if (options.contents.includes('text')) {
      peers = await startPeers(options, folder, log);
      await measureText(engine, peers, options, onPoint);
    }
    if (options.contents.includes('pictures')) await measurePictures(engine, options, onPoint);
    return {
      ...{ command, commit: await commitOf(), date: new Date().toISOString().slice(0, 10) },
      machine: machineName(),
      arithmetic: engine.arithmetic,
      load: [begin, loadavg()[0] ?? 0],
      ...{ threads: options.threads, weights: options.weights, weightBytes, geometry, roof, cacheRoof },
      peers: peers.map(({ name }) => name),
      storage: storages(engine, options.codecs),
      points,
    };
  } finally {
    await Promise.all([engine.dispose(), ...peers.map((peer) => peer.dispose())]);
    await rm(folder, { recursive: true });
  }
}

async function benchEngine(flags: BenchFlags): Promise<void> {
  const options = parseBenchFlags(flags, await storedDtype(flags.model));
  await checkResults(flags.out);
  // where the interpreter lies is of no use elsewhere
  const args = process.argv.slice(2).map((arg) => (arg !== '' && arg === flags.python ? 'PYTHON' : arg));
  const command = `kvcapsule ${args.join(' ')}`;
  const report = await measure(options, command, (line) => process.stderr.write(`${line}\n`));
  await writeReport(flags.out, report, engineReport(report));
}

const EXAMPLES = `
Examples:
  kvcapsule bench engine --out engine.json
  kvcapsule bench engine --content text --batches 1,16 --contexts 128,512 --out text.json
  kvcapsule bench engine --content pictures --codecs q8,capsule --contexts 4096,16384 --out pictures.json`;
const ALL_EXAMPLES = `${EXAMPLES}
  kvcapsule bench serve --rate 5 --duration 60s --slo ttft=500ms,itl=50ms --out load.json`;

export function registerBench(program: Command): void {
  const bench = program
    .command('bench')
    .description('measure speed: the engine beside peers, a server under load')
    .addHelpText('after', ALL_EXAMPLES);
  registerBenchServe(bench);
  bench
    .command('engine')
    .description(`prefill, decode and both mixed: ${OWN}, llama.cpp and transformers in turn`)
    .requiredOption('--out <file>', 'results as JSON; .md and .html are written beside it')
    .addOption(
      new Option('--model <dir>', 'Hugging Face folder').default(DEFAULT_MODEL_DIR, 'the demo model'),
    )
    .option('--content <list>', 'text, pictures', 'text,pictures')
    .option('--batches <list>', 'sequences computed together', '1,4,16')
    .option(
      '--contexts <list>',
      'tokens of each sequence; of pictures, visual ones',
      '128,512,1024,4096,16384',
    )
    .option('--longest-text <n>', 'contexts beyond this are measured with pictures alone', '1024')
    .option(
      '--codecs <list>',
      'how pictures are stored; raw is always measured',
      'q8,q4,capsule,capsule-q8,capsule-q4,capsule-mixed',
    )
    .option(
      '--weights <type>',
      `${WEIGHT_TYPES.join(', ')} or auto (as they are stored), for all sides; peers take bf16 where ours are quantized`,
      'auto',
    )
    .option('--threads <n>', 'threads of every side (0: as many as the process may run on)', '0')
    .option(
      '--peers <list>',
      'llama.cpp (built from the bundle on first use), transformers, or none',
      'llama.cpp,transformers',
    )
    .option(
      '--python <path>',
      'interpreter with torch and transformers; without it that peer is left out',
      '',
    )
    .option('--repeats <n>', 'rounds in which all sides take turns', '9')
    .option('--steps <n>', 'decode steps of a round', '64')
    .option('--pool-blocks <n>', 'blocks of 16 tokens; points that need more are left out', '16384')
    .addHelpText('after', EXAMPLES)
    .action(benchEngine);
}
