/** What a request that says nothing of its sampling gets, as in OpenAI's API and vLLM's. */
export const SAMPLING_DEFAULTS = {
  temperature: 1,
  topP: 1,
  /** Off, as 0 is for all below but `repetitionPenalty`, where it is 1. */
  topK: 0,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  minTokens: 0,
} as const;

/** Below this, dividing by the temperature in 32-bit floats gives the likeliest token or overflows. */
const GREEDY_BELOW_TEMPERATURE = 1e-3;
/** A nucleus this small holds the likeliest token alone. */
const GREEDY_BELOW_TOP_P = 1e-6;

/** Temperature and top-p as they are drawn with; greedy ones are temperature 0 and top-p 1 exactly. */
export function drawnWith(temperature: number, topP: number): { temperature: number; topP: number } {
  const greedy = temperature < GREEDY_BELOW_TEMPERATURE || topP < GREEDY_BELOW_TOP_P;
  return greedy ? { temperature: 0, topP: 1 } : { temperature, topP };
}
