import type { Redis } from 'ioredis';

/** What a server says of itself, by name. */
export type Info = Readonly<Record<string, string | undefined>>;

/** Empty where the user may not ask. */
export async function infoOf(node: Redis): Promise<Info> {
  const text = await node.info().catch(nothingIfForbidden);
  const lines = (text ?? '').split(/\r?\n/).filter((line) => line.includes(':'));
  return Object.fromEntries(
    lines.map((line): [string, string] => [
      line.slice(0, line.indexOf(':')),
      line.slice(line.indexOf(':') + 1),
    ]),
  );
}

/** Not only NOPERM: managed stores leave out INFO and CONFIG altogether. */
export function nothingIfForbidden(error: unknown): undefined {
  if (error instanceof Error && error.name === 'ReplyError') return undefined;
  throw error;
}
