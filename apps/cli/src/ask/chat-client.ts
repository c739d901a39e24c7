import { CompletionUsage } from '@kvcapsule/contracts/openai';
import { type EventSourceMessage, EventSourceParserStream } from 'eventsource-parser/stream';
import { z } from 'zod';
import { CliError } from '../failure.js';
import { ErrorBody, refusal, request, requestJson, type Server } from '../server.js';
import type { PromptStage } from './prefill-line.js';

export interface Question {
  readonly model: string;
  /** A data URI. */
  readonly imageUrl: string;
  readonly question: string;
  readonly maxTokens: number;
  /** How the picture's KV is kept; undefined leaves it to the server. */
  readonly kvCodec?: string | undefined;
}

/** What is told while an answer comes. */
export interface AnswerListener {
  /** Each piece of text. */
  text(text: string): void;
  /** Tokens of the prompt that are computed, and all of them; where it is missing the server is not asked. */
  prefilled?(stage: PromptStage, computed: number, all: number): void;
}

const Models = z.object({ data: z.array(z.object({ id: z.string() })) });

/** The id of the first model the server offers. */
export async function servedModel(server: Server): Promise<string> {
  const { data } = await requestJson(server, '/v1/models', Models);
  const id = data[0]?.id;
  if (id === undefined)
    throw new CliError(`${server.url} lists no model.`, 'Is it a KVCapsule server? Name another with --url.');
  return id;
}

/**
 * Streams one answer.
 * @returns what the server counted
 * @throws CliError with the server's own message when it refuses or breaks off
 */
export async function streamAnswer(
  server: Server,
  { model, imageUrl, question, maxTokens, kvCodec }: Question,
  listener: AnswerListener,
): Promise<CompletionUsage | undefined> {
  const content = [
    { type: 'image_url', image_url: { url: imageUrl } },
    { type: 'text', text: question },
  ];
  const body = {
    model,
    messages: [{ role: 'user', content }],
    stream: true,
    stream_options: {
      include_usage: true,
      ...(listener.prefilled !== undefined && { include_prefill_progress: true }),
    },
    max_completion_tokens: maxTokens,
    temperature: 0,
    ...(kvCodec !== undefined && { kv_codec: kvCodec }),
  };
  const response = await request(server, '/v1/chat/completions', {
    method: 'POST',
    body: JSON.stringify(body),
  });
  if (response.body === null) throw new CliError('The server sent no answer.');
  const events = eventsOf(response.body, listener);
  try {
    return await follow(events, listener);
  } catch (error) {
    // of a connection that breaks the libraries have many words
    throw error instanceof CliError ? error : brokenOff();
  }
}

const brokenOff = () =>
  new CliError('The answer broke off: the connection ended before the server was done.');

function eventsOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  listener: AnswerListener,
): ReadableStream<EventSourceMessage> {
  return body.pipeThrough<string>(new TextDecoderStream()).pipeThrough(
    new EventSourceParserStream({
      onComment: (comment) => {
        const [, stage, computed, all] = /^ ?(encode|prefill) (\d+)\/(\d+)$/.exec(comment) ?? [];
        if (all !== undefined) listener.prefilled?.(stage as PromptStage, Number(computed), Number(all));
      },
    }),
  );
}

async function follow(
  events: ReadableStream<EventSourceMessage>,
  listener: AnswerListener,
): Promise<CompletionUsage | undefined> {
  let usage: CompletionUsage | undefined;
  for await (const { data } of events) {
    if (data === '[DONE]') return usage;
    const chunk = parseChunk(data);
    usage = chunk.usage ?? usage;
    const text = chunk.choices[0]?.delta.content ?? '';
    if (text !== '') listener.text(text);
  }
  throw brokenOff();
}

/** What is read of an event; a newer or another server may say more. */
const Chunk = z.object({
  choices: z.array(z.object({ delta: z.object({ content: z.string().nullish() }) })),
  usage: CompletionUsage.nullish().catch(undefined),
});

function parseChunk(data: string): z.infer<typeof Chunk> {
  const failed = ErrorBody.safeParse(jsonIn(data));
  if (failed.success) throw refusal(failed.data);
  const chunk = Chunk.safeParse(jsonIn(data));
  if (chunk.success) return chunk.data;
  throw new CliError('The server streams something else than chat completions.');
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
