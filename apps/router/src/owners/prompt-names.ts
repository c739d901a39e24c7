import { type CacheDomain, rootName } from '@kvcapsule/domain/identity';
import { contentKey, type ContentKey, type StorageClass, type WorkerView } from '@kvcapsule/domain/placement';
import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { keptPicture, keptText, promptUnits } from '@kvcapsule/domain/scheduling';
import type { PreparedPrompt } from '../prepare/prompt-preparer.port.js';

const NAME_BYTES = 16;

/** The first bytes of a name, by which workers tell of it. */
export function bytesOf(name: string): Buffer {
  return Buffer.from(name.slice(0, 2 * NAME_BYTES), 'hex');
}

/** What a prompt's names depend on beside the worker. */
export interface NamedPrompt {
  readonly prompt: PreparedPrompt;
  /** The codec that the request names. */
  readonly kvCodec: string | undefined;
  readonly domain: CacheDomain;
}

/** A picture's span by its name, and the tokens from the prompt's beginning to its end. */
export interface NamedSpan {
  readonly key: ContentKey;
  readonly tokens: number;
}

/** How much of a prompt lies before the end of its first so many units. */
interface Prefix {
  readonly tokens: number;
  readonly pictures: number;
}

/** A prompt's names as all workers of one class make them, each made when it is first asked for. */
export class PromptNames implements Iterable<Uint8Array> {
  readonly #record: WorkerRecord;
  readonly #storageClass: StorageClass;
  readonly #units: ReturnType<typeof promptUnits>;
  readonly #names: Uint8Array[] = [];
  readonly #prefixes: Prefix[] = [{ tokens: 0, pictures: 0 }];
  readonly #pictures: number;
  #spans: readonly NamedSpan[] | undefined;

  constructor({ record, storageClass }: WorkerView, { prompt, kvCodec, domain }: NamedPrompt) {
    this.#record = record;
    this.#storageClass = storageClass;
    this.#pictures = prompt.pictures.length;
    const codec = kvCodec ?? record.codec;
    const { modelRevision, arithmetic, precision, imageProcessor } = record;
    const text = keptText(record, codec);
    const pictures = prompt.pictures.map((span) => {
      const kept = keptPicture(record, codec, span, false);
      return { ...kept, content: { ...kept.form, contentSha256: span.sha256 } };
    });
    const { tokenIds } = prompt;
    const root = rootName({ modelRevision, arithmetic, precision, imageProcessor, domain });
    const request = { promptTokens: tokenIds.length, pictures, content: { root, tokenIds } };
    this.#units = promptUnits({ ...request, ...(text && { text }) }, record);
  }

  /** Whether that worker makes them alike. */
  fit({ record, storageClass }: WorkerView): boolean {
    const { modelRevision, arithmetic, precision, imageProcessor } = this.#record;
    return (
      storageClass === this.#storageClass &&
      record.arithmetic === arithmetic &&
      record.modelRevision === modelRevision &&
      record.precision === precision &&
      record.imageProcessor === imageProcessor
    );
  }

  /** Of the first so many names. */
  prefix(count: number): Prefix {
    return this.#prefixes[count] ?? { tokens: 0, pictures: 0 };
  }

  /** Of its pictures; names what lies before the last of them. */
  get spans(): readonly NamedSpan[] {
    return (this.#spans ??= [...this.#nameSpans()]);
  }

  *#nameSpans(): Generator<NamedSpan, void> {
    let count = 0;
    for (const name of this) {
      const before = this.prefix(count).pictures;
      count += 1;
      const { tokens, pictures } = this.prefix(count);
      if (pictures > before) yield { key: contentKey(name), tokens };
      if (pictures === this.#pictures) return;
    }
  }

  *[Symbol.iterator](): Generator<Uint8Array, void> {
    for (let at = 0; ; at += 1) {
      const name = this.#names[at] ?? this.#next();
      if (!name) return;
      yield name;
    }
  }

  #next(): Uint8Array | undefined {
    const { done, value: unit } = this.#units.next();
    if (done ?? !unit) return undefined;
    const { tokens, pictures } = this.prefix(this.#names.length);
    const picture = unit.picture === undefined ? 0 : 1;
    this.#prefixes.push({ tokens: tokens + unit.tokenIds.length, pictures: pictures + picture });
    const name = bytesOf(unit.name);
    this.#names.push(name);
    return name;
  }
}
