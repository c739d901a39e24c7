import type { PlannedTurn } from './conversation.js';
import type { Pictures } from './pictures.js';

/** A turn that has been asked and answered. */
export interface PastTurn {
  readonly turn: PlannedTurn;
  readonly answer: string;
}

export interface BodyOptions {
  readonly model: string;
  /** More fields, which win over those of the load. */
  readonly extra: Readonly<Record<string, unknown>>;
}

function userMessage({ text, pictures }: PlannedTurn, made: Pictures) {
  if (pictures.length === 0) return { role: 'user', content: text };
  const parts = pictures.map((number) => ({ type: 'image_url', image_url: { url: made.uri(number) } }));
  return { role: 'user', content: [...parts, { type: 'text', text }] };
}

/** The body of a streamed chat completion. */
export function chatBody(
  turn: PlannedTurn,
  past: readonly PastTurn[],
  pictures: Pictures,
  { model, extra }: BodyOptions,
): string {
  const history = past.flatMap(({ turn: asked, answer }) => [
    userMessage(asked, pictures),
    { role: 'assistant', content: answer },
  ]);
  return JSON.stringify({
    model,
    messages: [...history, userMessage(turn, pictures)],
    ...(turn.outputTokens !== undefined && { max_tokens: turn.outputTokens }),
    stream: true,
    stream_options: { include_usage: true },
    ...extra,
  });
}
