import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';

/**
 * Results are written after minutes of work: better to know at the start that they cannot be.
 *
 * @throws KvcError CONFIG_INVALID when the folder of the flag's file is not there or may not be written to
 */
export async function checkOutput(path: string, flag = '--out'): Promise<void> {
  await access(dirname(path), constants.W_OK).catch((cause: unknown) => {
    throw new KvcError('CONFIG_INVALID', `${flag}: ${path} cannot be written`, { cause });
  });
}
