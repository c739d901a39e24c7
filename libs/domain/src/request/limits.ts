import { KvcError } from '@kvcapsule/contracts/errors';

/**
 * Tokens that an answer may have at most. Its last token is drawn and never computed, since nothing comes after it,
 * so it needs no place in the context: a prompt of exactly the context still gets one token.
 *
 * @param maxTokens what the request asks for; undefined: as many as there is room for
 */
export function answerTokens(promptTokens: number, contextTokens: number, maxTokens?: number): number {
  const room = contextTokens - promptTokens + 1;
  return Math.min(maxTokens ?? room, room);
}

/** Tokens of prompt and answer that are computed until the answer has `answer` tokens. */
export function computedTokens(promptTokens: number, answer: number): number {
  return promptTokens + Math.max(0, answer - 1);
}

/** @throws KvcError CONTEXT_LENGTH_EXCEEDED for a prompt that is longer than the context */
export function checkPromptTokens(promptTokens: number, contextTokens: number): void {
  if (promptTokens > contextTokens) throw contextExceeded(contextTokens, `${promptTokens} tokens`);
}

/**
 * The error in OpenAI's words, which clients look for.
 *
 * @param length what the messages have, such as `9000 tokens`
 */
export function contextExceeded(contextTokens: number, length: string): KvcError {
  const message =
    `This model's maximum context length is ${contextTokens} tokens. ` +
    `However, your messages resulted in ${length}. Please reduce the length of the messages.`;
  return new KvcError('CONTEXT_LENGTH_EXCEEDED', message, { param: 'messages' });
}
