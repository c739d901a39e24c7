import type { ChatCompletionChunk } from '@kvcapsule/contracts/openai';
import { ApiError, request } from '../../api/client.js';
import { readEvents } from '../../api/events.js';

export interface Question {
  readonly model: string;
  readonly text: string;
  /** A data: URI, or empty. */
  readonly picture: string;
  readonly codec: string;
  readonly seed: number;
  readonly temperature: number;
  readonly maxTokens: number;
}

type Usage = NonNullable<ChatCompletionChunk['usage']>;

/** An answer as far as it has come. */
export interface Answer {
  readonly codec: string;
  readonly text: string;
  readonly isRunning: boolean;
  readonly error: string;
  /** Of the request, by which the inspector finds it. */
  readonly id: string;
  readonly worker: string;
  /** What the prompt's progress says until the first token. */
  readonly progress: string;
  readonly firstTokenSeconds: number | undefined;
  readonly seconds: number;
  readonly usage: Usage | undefined;
}

export const begun = (codec: string): Answer => ({
  ...{ codec, text: '', isRunning: true, error: '', id: '', worker: '', progress: '' },
  ...{ firstTokenSeconds: undefined, seconds: 0, usage: undefined },
});

function bodyOf({ model, text, picture, codec, seed, temperature, maxTokens }: Question): string {
  const image = picture === '' ? [] : [{ type: 'image_url', image_url: { url: picture } }];
  return JSON.stringify({
    ...{ model, seed, temperature, stream: true, max_completion_tokens: maxTokens },
    ...(codec !== '' && { kv_codec: codec }),
    stream_options: { include_usage: true, include_prefill_progress: true },
    messages: [{ role: 'user', content: [...image, { type: 'text', text }] }],
  });
}

/** Streams one answer; `told` hears what it is after each piece of it. Never rejects. */
export async function ask(
  question: Question,
  signal: AbortSignal,
  told: (answer: Answer) => void,
): Promise<void> {
  const beganMs = performance.now();
  let answer = begun(question.codec);
  let isWhole = false;
  const say = (more: Partial<Answer>) => {
    answer = { ...answer, ...more, seconds: (performance.now() - beganMs) / 1_000 };
    told(answer);
  };
  try {
    const { body, headers } = await request('v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-kvcapsule-receipt': '1' },
      body: bodyOf(question),
      signal,
    });
    say({ id: headers.get('x-request-id') ?? '', worker: headers.get('x-kvcapsule-worker') ?? '' });
    if (body)
      await readEvents(
        body,
        ({ data }) => {
          if (data === '[DONE]') isWhole = true;
          else say(pieceOf(data, answer, beganMs));
        },
        (comment) => say({ progress: comment.trim() }),
      );
    say({ isRunning: false, error: answer.error || (isWhole ? '' : 'The answer broke off.') });
  } catch (error) {
    say({ isRunning: false, error: signal.aborted ? 'Stopped.' : (error as ApiError).message });
  }
}

function pieceOf(data: string, answer: Answer, beganMs: number): Partial<Answer> {
  const chunk = chunkOf(data);
  if (chunk.error) return { error: chunk.error.message };
  const content = chunk.choices?.[0]?.delta.content ?? '';
  const isFirst = content !== '' && answer.firstTokenSeconds === undefined;
  return {
    ...(content !== '' && { text: answer.text + content }),
    ...(isFirst && { firstTokenSeconds: (performance.now() - beganMs) / 1_000 }),
    ...(chunk.usage && { usage: chunk.usage }),
  };
}

type Chunk = Partial<ChatCompletionChunk> & { readonly error?: { readonly message: string } };

/** A proxy before the server may write into its stream. */
function chunkOf(data: string): Chunk {
  try {
    return JSON.parse(data) as Chunk;
  } catch {
    throw new ApiError(200, 'unknown', 'What came is no answer of a server of this kind.');
  }
}
