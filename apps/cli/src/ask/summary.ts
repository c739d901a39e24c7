import type { CompletionUsage } from '@kvcapsule/contracts/openai';

export interface AnswerTiming {
  readonly firstTokenMs: number;
  /** From the first piece of the answer to its end. */
  readonly decodeMs: number;
}

/** The line below an answer: tokens, time to first token, speed, and what the KV of the prompt holds. */
export function summaryLine(usage: CompletionUsage | undefined, timing: AnswerTiming): string {
  const parts: string[] = [];
  if (usage !== undefined) {
    const cached = usage.prompt_tokens_details.cached_tokens;
    const prompt = `${String(usage.prompt_tokens)} prompt${cached > 0 ? ` (${String(cached)} cached)` : ''}`;
    parts.push(`${prompt} + ${String(usage.completion_tokens)} tokens`);
  }
  parts.push(`first token ${timing.firstTokenMs.toFixed(0)} ms`);
  if (usage !== undefined && usage.completion_tokens > 1 && timing.decodeMs > 0)
    parts.push(`${(((usage.completion_tokens - 1) * 1000) / timing.decodeMs).toFixed(0)} tokens/s`);
  if (usage?.kv_cache !== undefined) {
    const { raw_bytes: rawBytes, bytes, codec } = usage.kv_cache;
    parts.push(
      `KV ${kib(rawBytes)} → ${kib(bytes)} (${codec === 'raw' ? codec : `${codec}, ${(rawBytes / bytes).toFixed(1)}x`})`,
    );
  }
  return parts.join(' · ');
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}
