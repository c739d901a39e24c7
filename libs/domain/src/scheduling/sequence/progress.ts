import { type BlockShape, promptSegments } from '../../paging/index.js';
import type { ScheduledPicture, ScheduledRequest, TextForm } from '../step.js';
import { type Span, spanAt, type SpanRules } from './spans.js';

/** How far a sequence is computed, and by which rules its tokens are kept. */
export class Progress implements SpanRules {
  /** Tokens of the answer once the steps planned so far have run. */
  generated: number;
  /** Tokens whose keys and values are in the pool once the steps planned so far have run. */
  computed = 0;
  readonly parts: SpanRules['parts'];
  pictures: readonly ScheduledPicture[];
  /** How text is kept from its beginning. */
  text: TextForm | undefined;

  constructor(
    readonly request: ScheduledRequest,
    readonly shape: BlockShape,
  ) {
    this.generated = request.answered ?? 0;
    this.pictures = request.pictures;
    this.text = request.text;
    const parts = promptSegments(request.promptTokens, request.pictures);
    if (parts.at(-1)?.picture !== undefined) {
      parts.push({ start: request.promptTokens, length: 0, picture: undefined });
    }
    this.parts = parts;
  }

  /** Tokens that are to be computed: prompt and answer so far, without the last token that the answer may have. */
  get totalTokens(): number {
    const { promptTokens, maxTokens = Infinity } = this.request;
    return promptTokens + Math.min(this.generated, maxTokens - 1);
  }

  /** Only the newest token is missing. */
  get decoding(): boolean {
    return this.computed > 0 && this.totalTokens - this.computed === 1 && this.generated > 0;
  }

  /** The first picture that has to be computed when it goes on after `tokens` tokens. */
  pictureAfter(tokens: number): number {
    const index = this.pictures.findIndex(({ offset, length }) => offset + length > tokens);
    return index < 0 ? this.pictures.length : index;
  }

  /** Rows of one step at most: up to the end of a span that is compressed before the next row. */
  get rowsInStep(): number {
    for (let at = this.computed; at < this.totalTokens;) {
      const { end, stored } = this.spanAt(at);
      if (stored) return end - this.computed;
      at = end;
    }
    return this.totalTokens - this.computed;
  }

  spanAt(token: number): Span {
    return spanAt(this, token, this.totalTokens);
  }

  /** A picture is kept in the form that it may have under pressure from here on. */
  press(picture: number): void {
    this.pictures = this.pictures.map((each, index) => {
      const { underPressure } = each;
      if (index !== picture || !underPressure) return each;
      const { offset, length, content } = each;
      const { stored, restRows, form } = underPressure;
      return { offset, length, stored, restRows, ...(content && { content: { ...content, ...form } }) };
    });
  }
}
