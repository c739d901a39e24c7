import { type AnswerListener, type ChatTransport, type Usage } from '../client/index.js';
import { ONE_EACH, textOf, type WordTokens } from '../workload/index.js';

/** What a server says to a first request: how it counts words, or why it does not answer. */
export interface Probe {
  readonly words: WordTokens;
  /** Kind of the fault; absent when it answers. */
  readonly fault?: string;
  /** Whether it tells the usage of a stream. */
  readonly countsTokens: boolean;
}

/** Words of the two prompts; their difference leaves the template out. */
const WORDS = [16, 272] as const;
const SEED = 0xca11;

function usageOf(transport: ChatTransport, body: string): Promise<{ outcome: string; usage?: Usage }> {
  return new Promise((resolve) => {
    let usage: Usage | undefined;
    const listener: AnswerListener = {
      part: () => undefined,
      usage: (counted) => (usage = counted),
      end: (outcome) => {
        resolve({ outcome, ...(usage && { usage }) });
      },
    };
    transport.send(body, listener, false);
  });
}

/** Asks twice for one token, and so learns what a word is to the server's vocabulary. */
export async function probeServer(
  transport: ChatTransport,
  model: string,
  extra: Readonly<Record<string, unknown>>,
): Promise<Probe> {
  const counted: number[] = [];
  for (const words of WORDS) {
    const content = textOf(SEED, words, words);
    const messages = [{ role: 'user', content }];
    const fields = { model, messages, max_tokens: 1, stream: true, stream_options: { include_usage: true } };
    const { outcome, usage } = await usageOf(transport, JSON.stringify({ ...fields, ...extra }));
    // a single token may be the end of the answer
    if (outcome !== 'ok' && outcome !== 'no_text')
      return { words: ONE_EACH, fault: outcome, countsTokens: false };
    if (usage !== undefined) counted.push(usage.promptTokens);
  }
  const [few = 0, many = 0] = counted;
  const tokensPerWord = (many - few) / (WORDS[1] - WORDS[0]);
  if (!(tokensPerWord > 0)) return { words: ONE_EACH, countsTokens: false };
  return { words: { tokensPerWord, overhead: few - tokensPerWord * WORDS[0] }, countsTokens: true };
}
