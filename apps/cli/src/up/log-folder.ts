import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CliError } from '../failure.js';

/** Of runs that have ended. */
const KEPT_RUNS = 10;

/**
 * Makes a folder of its own for the logs of one `up`, named after its start and its process, and removes those of
 * the oldest runs that have ended. So neither a second `up` nor the next start touches what another one has written.
 *
 * @param stateDirs the first that takes it is taken
 * @throws CliError where none does
 */
export function makeLogFolder(stateDirs: readonly string[], startedAt: Date, pid = process.pid): string {
  const name = `${startedAt.toISOString().slice(0, 19).replaceAll(':', '-')}-${String(pid)}`;
  const folder = makeFirst(stateDirs.map((dir) => join(dir, 'log', name)));
  removeOldest(folder);
  return folder;
}

/** A home that does not exist, a full disk, a file in the way: the person at the terminal can mend each. */
function makeFirst(folders: readonly string[]): string {
  const faults: string[] = [];
  for (const folder of folders) {
    try {
      mkdirSync(folder, { recursive: true });
      return folder;
    } catch (error) {
      const { code = 'unknown fault' } = error as NodeJS.ErrnoException;
      faults.push(`${folder} (${code})`);
    }
  }
  const message = `The folder for logs cannot be made: ${faults.join(', ')}.`;
  throw new CliError(message, 'Set XDG_STATE_HOME to a folder that you may write to.');
}

function removeOldest(folder: string): void {
  const all = dirname(folder);
  const ended = readdirSync(all, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && join(all, entry.name) !== folder)
    .map(({ name }) => ({ name, pid: Number(/^\d{4}-\d\d-\d\dT[\d-]+-(\d+)$/.exec(name)?.[1]) }))
    .filter((run) => run.pid > 0 && !isAlive(run.pid))
    .sort((a, b) => (a.name < b.name ? 1 : -1));
  for (const { name } of ended.slice(KEPT_RUNS)) {
    try {
      rmSync(join(all, name), { recursive: true, force: true });
    } catch {
      // another user's, who has run it here as well
    }
  }
}

/** Whether a process of any user has that id. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
