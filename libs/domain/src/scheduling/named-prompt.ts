import { UnitCutter } from '../identity/index.js';
import type { BlockShape } from '../paging/index.js';
import { Progress } from './sequence/progress.js';
import { Sequence } from './sequence/sequence.js';
import type { ScheduledRequest } from './step.js';

/**
 * The request with the names of its prompt, once and for all who ask: hashing a prompt of 8,000 tokens takes some
 * milliseconds. A request that names no content, or has names already, is left as it is.
 */
export function namePrompt(request: ScheduledRequest, shape: BlockShape): ScheduledRequest {
  const { content } = request;
  if (!content || content.names) return request;
  const { chain } = new Sequence(request, 0, shape);
  return chain ? { ...request, content: { ...content, names: chain } } : request;
}

/** The units of a prompt as `namePrompt` names them, each when it is asked for: whoever stops early saves the rest. */
export function promptUnits(
  request: Omit<ScheduledRequest, 'id'>,
  shape: BlockShape,
): Pick<UnitCutter, 'next'> {
  const { content } = request;
  if (!content) return { next: () => undefined };
  const { parts, pictures, text } = new Progress({ ...request, id: '' }, shape);
  return new UnitCutter({
    ...{ root: content.root, tokenIds: content.tokenIds, segments: parts, runs: text },
    pictures: pictures.flatMap((picture) => picture.content ?? []),
    blockTokens: shape.blockTokens,
  });
}
