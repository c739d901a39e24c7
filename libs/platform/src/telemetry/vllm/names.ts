/** Names, meanings and bounds of vLLM 0.32, under which its public dashboards look for data. */

const SECONDS = {
  firstToken: [
    ...[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75],
    ...[1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2_560],
  ],
  token: [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80],
  request: [
    ...[0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60],
    ...[120, 240, 480, 960, 1_920, 7_680],
  ],
};
const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

/** 1, 2 and 5 of every power of ten up to the context. */
function tokenBounds(contextTokens: number): number[] {
  const bounds: number[] = [];
  for (let power = 1; power <= contextTokens; power *= 10)
    bounds.push(...[1, 2, 5].map((digit) => digit * power).filter((bound) => bound <= contextTokens));
  return bounds;
}

/** Histograms by ours that observe the same. */
export const ROUTER_HISTOGRAMS = {
  timeToFirstToken: ['vllm:time_to_first_token_seconds', SECONDS.firstToken],
  interTokenLatency: ['vllm:inter_token_latency_seconds', SECONDS.token],
  timePerOutputToken: ['vllm:request_time_per_output_token_seconds', SECONDS.token],
  requestDuration: ['vllm:e2e_request_latency_seconds', SECONDS.request],
} as const;

export const workerHistograms = (contextTokens: number) =>
  ({
    requestQueue: ['vllm:request_queue_time_seconds', SECONDS.request],
    requestPrefill: ['vllm:request_prefill_time_seconds', SECONDS.request],
    requestDecode: ['vllm:request_decode_time_seconds', SECONDS.request],
    requestInference: ['vllm:request_inference_time_seconds', SECONDS.request],
    requestPromptTokens: ['vllm:request_prompt_tokens', tokenBounds(contextTokens)],
    requestCompletionTokens: ['vllm:request_generation_tokens', tokenBounds(contextTokens)],
    stepTokens: ['vllm:iteration_tokens_total', STEP_TOKENS],
  }) as const;
