import { describe, expect, it } from 'vitest';
import { summaryLine } from './summary.js';

const USAGE = {
  prompt_tokens: 320,
  completion_tokens: 11,
  total_tokens: 331,
  prompt_tokens_details: { cached_tokens: 0 },
};

describe('summaryLine', () => {
  it('names tokens, time to first token, speed and KV bytes', () => {
    const pictures = { bytes: 24_576, raw_bytes: 835_584 };
    const usage = { ...USAGE, kv_cache: { codec: 'capsule', bytes: 245_760, raw_bytes: 983_040, pictures } };
    expect(summaryLine(usage, { firstTokenMs: 212.4, decodeMs: 100 })).toBe(
      '320 prompt + 11 tokens · first token 212 ms · 100 tokens/s · KV 960 KiB → 240 KiB (capsule, 4.0x)',
    );
  });

  it('tells cached tokens and leaves out a speed that one token cannot have', () => {
    const usage = { ...USAGE, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 304 } };
    expect(summaryLine(usage, { firstTokenMs: 9, decodeMs: 0 })).toBe(
      '320 prompt (304 cached) + 1 tokens · first token 9 ms',
    );
  });
});
