import { z } from 'zod';

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/** What one event of a streamed chat completion says. */
export type Chunk =
  | { readonly kind: 'text'; readonly usage?: Usage; readonly text?: string }
  | { readonly kind: 'other'; readonly usage?: Usage }
  | { readonly kind: 'done' }
  | { readonly kind: 'error'; readonly code: string }
  | { readonly kind: 'garbage' };

const TEXT: Chunk = { kind: 'text' };
const OTHER: Chunk = { kind: 'other' };
const DONE: Chunk = { kind: 'done' };
const GARBAGE: Chunk = { kind: 'garbage' };

/** Stands only before a text: within one every quote is escaped. */
const CONTENT = Buffer.from('"content":"');
const USAGE = Buffer.from('"usage":{');
const DONE_MARK = Buffer.from('[DONE]');
const QUOTE = 0x22;

const count = z.number().int().min(0);
const event = z.object({
  choices: z
    .array(
      z.object({
        delta: z
          .object({
            content: z.string().nullish(),
            reasoning_content: z.string().nullish(),
            reasoning: z.string().nullish(),
            tool_calls: z.array(z.unknown()).nullish(),
          })
          .nullish(),
      }),
    )
    .nullish(),
  usage: z
    .object({
      prompt_tokens: count,
      completion_tokens: count,
      prompt_tokens_details: z.object({ cached_tokens: count.nullish() }).nullish(),
    })
    .nullish(),
  error: z.unknown().optional(),
});

/**
 * A line of data. The usual one, a piece of text and nothing else, is known by its bytes: reading every token's JSON
 * would cost more than a router takes to send it.
 *
 * @param keepText whether the text itself is wanted
 */
export function readChunk(bytes: Buffer, start: number, end: number, keepText: boolean): Chunk {
  const at = bytes.indexOf(CONTENT, start);
  const isText = at >= 0 && at + CONTENT.length < end && bytes[at + CONTENT.length] !== QUOTE;
  if (isText && !keepText && !isWithin(bytes.indexOf(USAGE, start), end)) return TEXT;
  if (end - start === DONE_MARK.length && bytes.compare(DONE_MARK, 0, DONE_MARK.length, start, end) === 0)
    return DONE;
  return parsed(bytes.toString('utf8', start, end));
}

const isWithin = (at: number, end: number): boolean => at >= 0 && at < end;

function parsed(json: string): Chunk {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return GARBAGE;
  }
  const read = event.safeParse(value);
  if (!read.success) return GARBAGE;
  const { choices, usage: counted, error } = read.data;
  if (error !== undefined && error !== null) return { kind: 'error', code: errorCode(error) };
  const delta = choices?.[0]?.delta;
  const text = [delta?.content, delta?.reasoning_content, delta?.reasoning].find(
    (one) => one != null && one !== '',
  );
  const usage = counted && {
    promptTokens: counted.prompt_tokens,
    completionTokens: counted.completion_tokens,
    cachedTokens: counted.prompt_tokens_details?.cached_tokens ?? 0,
  };
  const isText = text != null || (delta?.tool_calls?.length ?? 0) > 0;
  if (!usage && text == null) return isText ? TEXT : OTHER;
  return { kind: isText ? 'text' : 'other', ...(usage && { usage }), ...(text != null && { text }) };
}

const LONGEST_CODE = 64;
const errorBody = z.object({ code: z.union([z.string(), z.number()]).nullish(), type: z.string().nullish() });

/** What an error of the API is called; never its message, which may repeat what was asked. */
export function errorCode(error: unknown): string {
  const read = errorBody.safeParse(error);
  const code = read.success ? (read.data.code ?? read.data.type) : undefined;
  return /^[\w.-]+$/.test(String(code ?? '')) ? String(code).slice(0, LONGEST_CODE) : 'unknown';
}
