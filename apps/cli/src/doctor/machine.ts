import { readdir, readFile, statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { type Finding, group } from './finding.js';

const GIB = 2 ** 30;
/** What the demo model's worker, a router and Redis take with the default pool. */
const LEAST_MEMORY_BYTES = 2 * GIB;
/** A build, its packages and the logs of ten runs. */
const LEAST_DISK_BYTES = 3 * GIB;
/** Ten runs of logs at most, where all is built. */
const LEAST_LOG_BYTES = 0.5 * GIB;

/** What is read of the machine; a test brings its own. */
export interface MachineFacts {
  readonly processor: string;
  readonly cores: number;
  /** That this process may use: affinity and quotas of control groups count. */
  readonly usableCores: number;
  /** As Linux names them. */
  readonly features: ReadonlySet<string>;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  /** Of the control group; 0 where it sets none. */
  readonly groupBytes: number;
  /** `always`, `madvise`, `never`; undefined where the kernel says nothing. */
  readonly hugePages: string | undefined;
  readonly devices: readonly string[];
  readonly diskFreeBytes: number;
  readonly isBuilt: boolean;
  readonly nodeVersion: string;
}

export async function readMachine(root: string, isBuilt: boolean): Promise<MachineFacts> {
  const [cpuInfo, hugePages, devices, disk] = await Promise.all([
    textOf('/proc/cpuinfo'),
    textOf('/sys/kernel/mm/transparent_hugepage/enabled'),
    readdir('/dev').catch(() => []),
    statfs(root),
  ]);
  return {
    processor: /^model name\s*:\s*(.*)$/m.exec(cpuInfo)?.[1] ?? 'unknown processor',
    cores: cpus().length,
    usableCores: availableParallelism(),
    features: new Set((/^flags\s*:(.*)$/m.exec(cpuInfo)?.[1] ?? '').trim().split(/\s+/)),
    memoryBytes: totalmem(),
    freeBytes: availableBytes(await textOf('/proc/meminfo')),
    groupBytes: process.constrainedMemory(),
    hugePages: /\[(\w+)\]/.exec(hugePages)?.[1],
    devices,
    diskFreeBytes: disk.bavail * disk.bsize,
    ...{ isBuilt, nodeVersion: process.versions.node },
  };
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

/** Pages of files count: the kernel gives them up. */
function availableBytes(memInfo: string): number {
  const kib = /^MemAvailable:\s*(\d+) kB$/m.exec(memInfo)?.[1];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;

export function machineFindings(facts: MachineFacts): Finding[] {
  return [
    ...[processor(facts), instructions(facts), memory(facts), hugePages(facts)],
    ...[gpu(facts), disk(facts), node(facts)],
  ];
}

const { ok, warn, fail } = group('machine');

function processor({ processor: name, cores, usableCores }: MachineFacts): Finding {
  const found = `${name}, ${String(usableCores)} of ${String(cores)} CPUs usable`;
  if (usableCores < cores / 2 && usableCores < 4)
    return warn(
      'processor',
      found,
      'A control group or an affinity leaves few CPUs: raise its cpu.max, or its limits.cpu.',
    );
  return ok('processor', found);
}

/** What the engine is compiled for at least, and what makes it faster. */
const NEEDED = ['sse4_2', 'popcnt', 'pclmulqdq', 'aes'];
const WELCOME = ['avx2', 'avx512f', 'amx_tile'];

function instructions({ features }: MachineFacts): Finding {
  const missing = NEEDED.filter((feature) => !features.has(feature));
  if (features.size > 1 && missing.length > 0)
    return fail('instructions', `it lacks ${missing.join(', ')}`, 'Take an x86-64 machine of 2010 or later.');
  const has = WELCOME.filter((feature) => features.has(feature));
  if (!features.has('avx2'))
    return warn('instructions', 'SSE4 alone', 'A processor with AVX2 computes several times as fast.');
  return ok('instructions', `sse4_2, ${has.join(', ')}`);
}

function memory({ memoryBytes, freeBytes, groupBytes }: MachineFacts): Finding {
  const limited = groupBytes > 0 && groupBytes < memoryBytes;
  const most = limited ? groupBytes : memoryBytes;
  const found = `${gib(freeBytes)} of ${gib(memoryBytes)} available${limited ? `, the control group allows ${gib(groupBytes)}` : ''}`;
  if (Math.min(most, freeBytes) >= LEAST_MEMORY_BYTES) return ok('memory', found);
  return warn(
    'memory',
    found,
    `Less than ${gib(LEAST_MEMORY_BYTES)}: take a smaller pool (--pool-mib) and fewer workers, or raise memory.max.`,
  );
}

/** The pool and the weights ask for them; without them, reading weights misses the TLB for every 4 KiB. */
function hugePages({ hugePages: mode }: MachineFacts): Finding {
  if (mode === 'always' || mode === 'madvise') return ok('huge pages', mode);
  return warn(
    'huge pages',
    mode ?? 'the kernel says nothing of them',
    'As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled',
  );
}

function gpu({ devices }: MachineFacts): Finding {
  const found = devices.filter((name) => /^(nvidia\d+|kfd)$/.test(name));
  if (found.length === 0) return ok('GPU', 'none; the CPU serves');
  return warn(
    'GPU',
    `${found.join(', ')}; it is not used, the CPU serves`,
    'Nothing: this build has kernels for CPUs alone.',
  );
}

function disk({ diskFreeBytes, isBuilt }: MachineFacts): Finding {
  const least = isBuilt ? LEAST_LOG_BYTES : LEAST_DISK_BYTES;
  const found = `${gib(diskFreeBytes)} free`;
  if (diskFreeBytes >= least) return ok('disk', found);
  return warn(
    'disk',
    found,
    `Free ${gib(least)}: ${isBuilt ? 'logs need it' : 'packages, build and logs need it'}.`,
  );
}

/** As `engines` of package.json and the entry script say. */
function node({ nodeVersion }: MachineFacts): Finding {
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number);
  const fits = major === 26 || (major === 24 && minor >= 15);
  if (fits) return ok('Node', nodeVersion);
  return fail('Node', nodeVersion, 'Start through ./kvcapsule, which brings Node 24.');
}
