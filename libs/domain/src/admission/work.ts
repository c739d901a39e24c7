/** An answer's token costs a step of its own, a prompt's shares one with others; the usual ratio of prices, too. */
const ANSWER_WEIGHT = 2;
/** Taken for an answer's length until some have ended. */
const FIRST_GUESS = 256;
/** Weight of the newest answer in the average. */
const NEWEST = 0.1;

/** What serving a request costs, in prompt tokens. */
export function workOf(promptTokens: number, answerTokens: number): number {
  return promptTokens + ANSWER_WEIGHT * answerTokens;
}

/** How long answers are expected to be, by those that have ended: few requests say so themselves. */
export class AnswerLengths {
  #mean = FIRST_GUESS;

  expected(maxTokens: number): number {
    return Math.min(maxTokens, this.#mean);
  }

  observe(answerTokens: number): void {
    this.#mean += NEWEST * (answerTokens - this.#mean);
  }
}
