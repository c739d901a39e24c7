import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/**
 * The text of a file that a setting names. A pipe or a device is refused, since it may give nothing, or no end.
 *
 * @throws Error whose message says what is wrong, to stand behind the file's name: `cannot be read (ENOENT)`
 */
export function readSmallFile(path: string, mostBytes: number): string {
  const descriptor = opened(path);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new Error('is no regular file');
    if (stat.size > mostBytes) throw new Error(`larger than ${mostBytes} bytes`);
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function opened(path: string): number {
  try {
    // not blocking: to open a pipe would wait for whoever writes to it
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw new Error(`cannot be read (${String((error as NodeJS.ErrnoException).code)})`, { cause: error });
  }
}
