import { hash } from 'node:crypto';
import type { GenerationRequest } from '../generation/generation.js';
import type { ChatTurn, PreparedPrompt } from '../prepare/prompt-preparer.port.js';

type Sessioned = Pick<GenerationRequest, 'turns' | 'principal' | 'cacheSalt' | 'sessionKey'>;

/**
 * What requests have in common that are likely to begin alike: the key that they name (`prompt_cache_key`, else `user`),
 * else how their conversation opens. A hash, so that it tells nothing of either; of one tenant and salt alone, since
 * others share no content.
 */
export function sessionOf(
  { turns, principal, cacheSalt, sessionKey }: Sessioned,
  { pictures }: PreparedPrompt,
): string {
  const content = sessionKey === undefined ? openingOf(turns, pictures) : ['key', sessionKey];
  return hash('sha1', JSON.stringify([principal.tenant, cacheSalt, ...content]), 'base64url');
}

/** Requests that begin alike for so long begin alike for most of what is kept of them. */
const MAX_PARTS = 64;
const MAX_CHARACTERS = 1_024;

/** Texts and pictures up to the end of what the user said first: of each its beginning. */
function openingOf(turns: readonly ChatTurn[], pictures: PreparedPrompt['pictures']): string[] {
  const first = turns.findIndex(({ role }) => role === 'user');
  const parts = turns
    .slice(0, first + 1)
    .flatMap(({ content }) => content)
    .slice(0, MAX_PARTS);
  let picture = 0;
  const content = parts.map((part) =>
    typeof part === 'string'
      ? part.slice(0, MAX_CHARACTERS)
      : (pictures[picture++]?.sha256.toString('base64url') ?? ''),
  );
  return ['opening', ...content];
}
