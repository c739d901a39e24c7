import type { ChoiceLogprobs } from '@kvcapsule/contracts/openai';
import type { TokenLogprob, TopLogprob } from '@kvcapsule/contracts/worker';

/** What a worker tells of an answer's tokens, as OpenAI's clients expect it. */
export function choiceLogprobs(tokens: readonly TokenLogprob[]): ChoiceLogprobs {
  const content = tokens.map((token) => ({ ...entry(token), top_logprobs: token.top.map(entry) }));
  return { content, refusal: null };
}

function entry({ text, bytes, logprob }: TokenLogprob | TopLogprob) {
  return { token: text, logprob, bytes: bytes ? [...bytes] : null };
}
