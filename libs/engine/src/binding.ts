import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { KvcError } from '@kvcapsule/contracts';
import { checkCpu, CPU_INFO } from './cpu.js';
import { asEngineError } from './native-errors.js';
import type { CpuIsa, NativeBinding } from './native.js';

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const PROOF_TIMEOUT_MS = 30_000;
const MAX_CPU_ISA = 'KVCAPSULE_MAX_CPU_ISA';
/** Loads the file given as argument and calls into it, so that missing symbols show as well. */
const PROOF_SCRIPT = 'process.stdout.write(JSON.stringify(require(process.argv[1]).buildInfo()))';

/** The addon that `./kvcapsule` builds; KVCAPSULE_ADDON names another file. */
export function addonPath(): string {
  const built = fileURLToPath(new URL('../../../.cache/native/kvcapsule.node', import.meta.url));
  return process.env['KVCAPSULE_ADDON'] ?? built;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { signal, killed, stderr } = error as { signal?: string; killed?: boolean; stderr?: string };
  if (killed === true) return `it did not load within ${PROOF_TIMEOUT_MS / 1000} s`;
  if (signal) return `loading it ended with ${signal}`;
  return stderr?.split('\n').find((line) => line.includes('Error:')) ?? error.message;
}

/**
 * Loads the binary in a child process first: a binary for another CPU or libc ends its process with a
 * signal, which nothing in this process could catch.
 */
async function proveBinary(path: string): Promise<void> {
  try {
    await run(process.execPath, ['-e', PROOF_SCRIPT, path], { timeout: PROOF_TIMEOUT_MS });
  } catch (error) {
    throw new KvcError('CONFIG_INVALID', `the native engine ${path} cannot be loaded: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

async function load(path: string, cpuInfo: string): Promise<NativeBinding> {
  const missing = await access(path).then(
    () => false,
    () => true,
  );
  if (missing) {
    throw new KvcError(
      'CONFIG_INVALID',
      `the native engine is not built: ${path} does not exist (KVCAPSULE_ADDON)`,
    );
  }
  await checkCpu(cpuInfo);
  await proveBinary(path);
  const binding = require(path) as NativeBinding;
  limitIsaByEnvironment(binding);
  return binding;
}

/** For programs without a setting of their own, such as benchmarks and tests. */
function limitIsaByEnvironment(binding: NativeBinding): void {
  const most = process.env[MAX_CPU_ISA];
  if (!most) return;
  try {
    binding.limitIsa(most as CpuIsa);
  } catch (error) {
    const { code, message } = asEngineError(error);
    throw new KvcError(code, `${MAX_CPU_ISA}: ${message}`, { cause: error });
  }
}

/** Loading a binary twice gives the same module, so it is proved once. */
const loaded = new Map<string, Promise<NativeBinding>>();

/**
 * The addon, proved and loaded, limited to the instruction set that KVCAPSULE_MAX_CPU_ISA names.
 *
 * @throws KvcError CONFIG_INVALID when there is none, it does not load on this machine or nobody knows the
 *   instruction set, CPU_UNSUPPORTED
 */
export async function loadBinding(path = addonPath(), cpuInfo = CPU_INFO): Promise<NativeBinding> {
  const loading = loaded.get(path) ?? load(path, cpuInfo);
  loaded.set(path, loading);
  try {
    return await loading;
  } catch (error) {
    // It may be built, or built anew, by the next call.
    loaded.delete(path);
    throw error;
  }
}
