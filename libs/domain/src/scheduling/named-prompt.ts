import type { BlockShape } from '../paging/index.js';
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
