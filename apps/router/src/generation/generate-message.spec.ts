import { describe, expect, it } from 'vitest';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { generateMessage } from './generate-message.js';
import type { GenerationRequest } from './generation.js';

const SAMPLING = {
  ...{ temperature: 0.7, topP: 0.9, topK: 5, seed: 9n, minP: 0.1, presencePenalty: 0.5 },
  ...{ frequencyPenalty: -1, repetitionPenalty: 1.5, topLogprobs: 3, minTokens: 2, ignoreEos: true },
  logitBias: [{ tokenId: 4, bias: -1 }],
};
const REQUEST = {
  ...{ id: 'client-1', principal: { tenant: 'acme' }, stop: ['END'], priority: -2, cacheSalt: 's' },
  ...{ kvCodec: 'q8', ...SAMPLING },
} as unknown as GenerationRequest;
const sha256 = new Uint8Array(32);
const PROMPT = {
  tokenIds: [1, 5, 3, 6],
  pictures: [{ sha256, offset: 1, length: 3, param: 'messages.0', encoded: Buffer.of(1) }],
} as unknown as PreparedPrompt;
const KEY = { workerId: 'w', epoch: 7, leaseId: 'lease-1' };

const messageOf = (remainingMs: number, request = REQUEST) => {
  const bounds = { pages: 16, provisional: true, maxTokens: 20, resumedTokenIds: [7, 7], remainingMs };
  return generateMessage({ request, prompt: PROMPT, key: KEY, ...bounds });
};

describe('the message to a worker', () => {
  it('says all that the request and its prompt do, under the id of the lease', () => {
    expect(messageOf(1_000)).toEqual({
      ...{ requestId: 'lease-1', clientRequestId: 'client-1', tokenIds: [1, 5, 3, 6], maxTokens: 20 },
      lease: { leaseId: 'lease-1', epoch: 7n, pages: 16, provisional: true },
      // of a picture its place and hash: the file goes another way, and only where it is asked for
      pictures: [{ contentSha256: sha256, offset: 1, length: 3, param: 'messages.0' }],
      ...{ sampling: SAMPLING, stop: ['END'], remainingMs: 1_000n, resumedTokenIds: [7, 7], priority: -2 },
      ...{ tenant: 'acme', cacheSalt: 's', kvCodec: 'q8' },
    });
  });

  it('leaves the codec to the worker where the request names none', () => {
    expect(messageOf(1, { ...REQUEST, kvCodec: undefined }).kvCodec).toBe('');
  });

  it.each([
    [1_000.4, 1_000n],
    [1_000.6, 1_001n],
    [0.2, 1n],
    [-50, 1n],
  ])('gives %d ms as %i: there is always a limit, however little time is left', (remaining, wire) => {
    expect(messageOf(remaining).remainingMs).toBe(wire);
  });
});
