import { readFile } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';

/** What the addon is compiled for (`-march=westmere -maes` in native/CMakeLists.txt), as Linux names it. */
const NEEDED = ['ssse3', 'cx16', 'sse4_1', 'sse4_2', 'popcnt', 'pclmulqdq', 'aes'] as const;

export const CPU_INFO = '/proc/cpuinfo';

/**
 * Loading the addon on an older processor would end the process with SIGILL and no word. Where nothing is said of the
 * processor's features, nothing is checked.
 *
 * @param cpuInfo file in the form of Linux's /proc/cpuinfo
 * @throws KvcError CPU_UNSUPPORTED naming what the processor lacks
 */
export async function checkCpu(cpuInfo: string): Promise<void> {
  const text = await readFile(cpuInfo, 'utf8').catch(() => '');
  const flags = /^flags\s*:(.*)$/m.exec(text)?.[1];
  if (flags === undefined) return;
  const has = new Set(flags.trim().split(/\s+/));
  const missing = NEEDED.filter((feature) => !has.has(feature));
  if (missing.length === 0) return;
  throw new KvcError('CPU_UNSUPPORTED', `This processor lacks ${missing.join(', ')}.`);
}
