import { serverFetch } from '@kvcapsule/platform/http';
import { z } from 'zod';
import { CliError } from '../failure.js';
import { jsonOf } from '../server.js';
import { assertListens } from '../up/ports.js';
import { type Finding, group, told } from './finding.js';

const ANSWER_TIMEOUT_MS = 2_000;
const { ok, fail } = group('ports');

/** What readiness says, and no other program that may hold the port. */
const Readiness = z.object({
  status: z.enum(['ready', 'degraded', 'unready']),
  reasons: z.array(z.string()),
});

/** Whether the API can listen there, or does already. */
export async function portFindings(host: string, port: number): Promise<Finding[]> {
  const name = `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
  try {
    await assertListens(host, port, { host: '--host', port: '--port' });
    return [ok(name, 'free')];
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    const serving = await statusAt(`http://${name}`);
    if (serving !== undefined) return [ok(name, `a router answers there: ${serving}`)];
    return [fail(name, ...told(error))];
  }
}

/** `ready`, `degraded` or `unready` where a router of ours answers. */
async function statusAt(url: string): Promise<string | undefined> {
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    return Readiness.parse(await jsonOf(await serverFetch(`${url}/health/ready`, { signal }))).status;
  } catch {
    return undefined;
  }
}
