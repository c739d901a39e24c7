interface Sizes {
  readonly contextTokens: number;
  readonly blockTokens: number;
}

/** What a pool says at its start that cannot hold one request of the whole context; undefined for one that can. */
export function smallPoolNote(blocks: number, { contextTokens, blockTokens }: Sizes): string | undefined {
  const tokens = blocks * blockTokens;
  if (tokens >= contextTokens) return undefined;
  return `the pool holds ${tokens} tokens as raw rows, fewer than the context of ${contextTokens}: prompts that need more are refused, and answers end there (--pool-mib)`;
}
