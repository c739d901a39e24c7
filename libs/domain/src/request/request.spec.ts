import { describe, expect, it } from 'vitest';

import { answerTokens, checkPromptTokens, computedTokens, contextExceeded, drawnWith } from './index.js';

describe('limits', () => {
  it.each([
    [63, undefined, 2],
    [64, undefined, 1],
    [64, 20, 1],
    [10, 20, 20],
    [10, 55, 55],
    [10, 56, 55],
  ])('of a prompt of %i tokens and %j asked for leave room for %i of 64', (prompt, wanted, answer) => {
    expect(answerTokens(prompt, 64, wanted)).toBe(answer);
    expect(computedTokens(prompt, answer)).toBeLessThanOrEqual(64);
  });

  it('fill the context to its last place when the answer may be as long as it goes', () => {
    for (const prompt of [1, 32, 63, 64]) {
      expect(computedTokens(prompt, answerTokens(prompt, 64))).toBe(64);
      expect(() => {
        checkPromptTokens(prompt, 64);
      }).not.toThrow();
    }
  });

  it('count an answer that has not begun as no place less', () => {
    expect(computedTokens(10, 0)).toBe(10);
  });

  it('refuse one token more than the context, in words that clients parse', () => {
    const message =
      "This model's maximum context length is 64 tokens. However, your messages resulted in 65 tokens. " +
      'Please reduce the length of the messages.';
    expect(contextExceeded(64, '65 tokens')).toMatchObject({ message, options: { param: 'messages' } });
    expect(() => {
      checkPromptTokens(65, 64);
    }).toThrow(expect.objectContaining({ code: 'CONTEXT_LENGTH_EXCEEDED', message }) as Error);
  });
});

describe('drawnWith', () => {
  const greedy = { temperature: 0, topP: 1 };
  it.each([
    [0, 1, greedy],
    [0.99e-3, 0.5, greedy],
    [0.7, 0, greedy],
    [0.7, 0.99e-6, greedy],
    [1e-3, 1e-6, { temperature: 1e-3, topP: 1e-6 }],
  ])('temperature %d with top-p %d is %j', (temperature, topP, drawn) => {
    expect(drawnWith(temperature, topP)).toEqual(drawn);
  });
});
