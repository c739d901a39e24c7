import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('./shifted-clock.c', import.meta.url));
const CACHE = fileURLToPath(new URL('../../../../.cache/test-clock/', import.meta.url));

/** The wall clock of processes that are started with its variables; what they measure time with goes on as it does. */
export class ShiftedClock {
  readonly #folder = mkdtempSync(join(tmpdir(), 'kvcapsule-clock-'));
  readonly #file = openSync(join(this.#folder, 'shift'), 'w');

  private constructor(private readonly library: string) {
    this.shift(0);
  }

  static async make(): Promise<ShiftedClock> {
    return new ShiftedClock(await built());
  }

  /** What a process needs in its environment. */
  get env(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: this.library, SHIFTED_CLOCK: join(this.#folder, 'shift') };
  }

  /** Puts the clock so much ahead of the true one, or behind it; at once, also of processes that run. */
  shift(ms: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(Math.round(ms)));
    writeSync(this.#file, bytes, 0, 8, 0);
  }

  remove(): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true });
  }
}

async function built(): Promise<string> {
  const hash = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 12);
  const library = join(CACHE, `${hash}.so`);
  if (existsSync(library)) return library;
  mkdirSync(CACHE, { recursive: true });
  const part = `${library}.${process.pid}`;
  await run('cc', ['-O2', '-shared', '-fPIC', '-Wall', '-Werror', '-o', part, SOURCE]);
  renameSync(part, library);
  return library;
}
