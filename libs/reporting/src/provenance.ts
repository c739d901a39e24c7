import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The commit that results are of, marked when there are changes on top; `unknown` outside a checkout. */
export async function commitOf(): Promise<string> {
  try {
    const { stdout } = await run('git', ['describe', '--always', '--dirty', '--abbrev=12']);
    return stdout.trim();
  } catch {
    return 'unknown';
  }
}

/** The processor that results are of, and how many of its threads this machine has. */
export function machineName(): string {
  const all = cpus();
  return `${all[0]?.model ?? 'unknown CPU'}, ${all.length} CPUs`;
}
