import { runInNewContext } from 'node:vm';
import { KvcError } from '@kvcapsule/contracts';

/** Parsing and rendering take milliseconds; a machine that is busy may need longer. */
const MAX_MS = 5_000;

/**
 * Does what a template of a folder has a say in, and ends it: a loop without an end would hold up the whole process.
 * A timer could not, since the work leaves no turn for it; the engine of JavaScript itself breaks it off.
 *
 * @throws KvcError MODEL_INVALID after five seconds
 */
export function withinTime<T>(file: string, work: () => T): T {
  try {
    return runInNewContext('work()', { work }, { timeout: MAX_MS }) as T;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw cause;
    throw new KvcError('MODEL_INVALID', `${file}: the chat template takes more than ${MAX_MS / 1_000} s`);
  }
}
