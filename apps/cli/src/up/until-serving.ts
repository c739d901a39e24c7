import { setTimeout as sleep } from 'node:timers/promises';
import { serverFetch } from '@kvcapsule/platform/http';
import { z } from 'zod';
import { CliError } from '../failure.js';

const READY_TIMEOUT_MS = 60_000;
/** Who waits so long is told for what. */
const PATIENCE_MS = 5_000;
const ANSWER_TIMEOUT_MS = 5_000;
const POLL_MS = 50;

const Health = z.object({ status: z.string(), reasons: z.array(z.string()) });
const SILENT = { status: 'unready', reasons: ['the router does not answer'] };

interface WaitOptions {
  readonly patienceMs?: number;
  readonly timeoutMs?: number;
  /** Ends the wait, which rejects then. */
  readonly signal?: AbortSignal;
}

/**
 * Until every model has a worker: with one of several missing, the router counts as ready, but `degraded`.
 *
 * @param say one line for the terminal: what is waited for, each time that it changes
 * @throws CliError with what is missing when that takes too long
 */
export async function untilServing(
  url: string,
  say: (line: string) => void,
  { patienceMs = PATIENCE_MS, timeoutMs = READY_TIMEOUT_MS, signal }: WaitOptions = {},
): Promise<void> {
  const beganMs = performance.now();
  let told = '';
  for (;;) {
    const { status, reasons } = await healthOf(url);
    if (status === 'ready') return;
    const missing = reasons.join('; ');
    signal?.throwIfAborted();
    const waitedMs = performance.now() - beganMs;
    if (waitedMs > timeoutMs)
      throw new CliError(
        `The router runs, but does not get ready: ${missing}.`,
        `Ask it: curl ${url}/health/ready`,
      );
    if (waitedMs > patienceMs && missing !== told) {
      say(`not ready yet: ${missing}`);
      told = missing;
    }
    await sleep(POLL_MS, undefined, { signal });
  }
}

async function healthOf(url: string): Promise<z.infer<typeof Health>> {
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const response = await serverFetch(`${url}/health/ready`, { signal });
    return Health.parse(await response.json());
  } catch {
    return SILENT;
  }
}
