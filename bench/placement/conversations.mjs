// Conversations about pictures, and the names of what workers hold of them, made as workers make them.
import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';
import { MARKER_ROWS, PICTURE_ROWS, workerRecord } from './router.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
const { cacheDomain, nameFile } = await import(join(ROOT, 'libs/domain/dist/identity/index.js'));
const { storageClass } = await import(join(ROOT, 'libs/domain/dist/placement/index.js'));
const { bytesOf, PromptNames } = await import(join(ROOT, 'apps/router/dist/owners/prompt-names.js'));

const PROMPT_TOKENS = 4_000;
/** Instructions that conversations begin with, and how many there are. */
const INSTRUCTIONS_TOKENS = 640;
const INSTRUCTIONS = 20;
/** Pictures of a prompt: one after the instructions, the others further on. */
const OFFSETS = [640, 1_300, 2_000, 2_700];
const TENANT = 't';
const DOMAIN = cacheDomain(TENANT, '');

/** Token ids by a seed. */
function tokens(seed, count) {
  let state = seed * 2_654_435_761 + 1;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % 49_152;
  });
}

const sha256 = (picture) => createHash('sha256').update(`picture ${picture}`).digest();
/** Every third conversation begins with the first instructions, the others with any. */
const instructionsOf = (conversation) => (conversation % 3 === 0 ? 0 : conversation % INSTRUCTIONS);

/** What a conversation's prompt is; `pictures` and `text` are numbers that stand for other content. */
export function promptOf({ instructions, text, pictures }) {
  const begin = tokens(1_000_000 + instructions, INSTRUCTIONS_TOKENS);
  return {
    tokenIds: [...begin, ...tokens(text, PROMPT_TOKENS - INSTRUCTIONS_TOKENS)],
    pictures: pictures.map((picture, at) => ({
      ...{ sha256: sha256(picture), encoded: Buffer.alloc(0), param: '' },
      ...{ offset: OFFSETS[at], length: PICTURE_ROWS, markerRows: MARKER_ROWS },
    })),
  };
}

export const conversation = (number) => ({
  instructions: instructionsOf(number),
  text: number,
  pictures: OFFSETS.map((_, at) => 4 * number + at),
});

export const REQUEST = {
  ...{ turns: [{ role: 'user', content: ['x'.repeat(500)] }], principal: { tenant: TENANT }, cacheSalt: '' },
};

const view = { record: workerRecord(0), storageClass: storageClass(workerRecord(0)) };

/** Names of the prompt's blocks and pictures, then those of the pictures' features. */
export function namesOf(prompt) {
  const made = new PromptNames(view, { prompt, kvCodec: undefined, domain: DOMAIN });
  const names = [];
  for (let name = made.at(0); name; name = made.at(names.length)) names.push(name);
  return [...names, ...prompt.pictures.map((picture) => bytesOf(nameFile(picture.sha256, DOMAIN)))];
}
