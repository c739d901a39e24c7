import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** Reads server-sent events of a body until it ends, or the reader throws. */
export async function readEvents(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  onEvent: (event: EventSourceMessage) => void,
  onComment?: (comment: string) => void,
): Promise<void> {
  const parser = createParser({ onEvent, ...(onComment && { onComment }) });
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parser.feed(value);
  }
}
