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
interface NamedSpan {
  readonly key: ContentKey;
  readonly tokens: number;
}

/** How much of a prompt lies before the end of its first so many units. */
interface Prefix {
  readonly tokens: number;
  readonly pictures: number;
}

/** A prompt's names as all workers of one class make them, each made when it is first asked for. */
export class PromptNames {
  readonly #record: WorkerRecord;
  readonly #storageClass: StorageClass;
  readonly #units: ReturnType<typeof promptUnits>;
  readonly #names: Uint8Array[] = [];
  /** Of the first so many names: tokens and pictures. */
  readonly #tokens = [0];
  readonly #seen = [0];
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
    return { tokens: this.#tokens[count] ?? 0, pictures: this.#seen[count] ?? 0 };
  }

  /** Of its pictures; names what lies before the last of them. */
  get spans(): readonly NamedSpan[] {
    return (this.#spans ??= [...this.#nameSpans()]);
  }

  *#nameSpans(): Generator<NamedSpan, void> {
    for (let at = 0, before = 0; before < this.#pictures; at += 1) {
      const name = this.at(at);
      if (!name) return;
      const { tokens, pictures } = this.prefix(at + 1);
      if (pictures > before) yield { key: contentKey(name), tokens };
      before = pictures;
    }
  }

  /** Undefined behind the last of them. */
  at(index: number): Uint8Array | undefined {
    while (this.#names.length <= index) if (!this.#makeNext()) return undefined;
    return this.#names[index];
  }

  #makeNext(): boolean {
    const unit = this.#units.next();
    if (!unit) return false;
    const count = this.#names.push(bytesOf(unit.name));
    this.#tokens.push((this.#tokens[count - 1] ?? 0) + unit.tokenIds.length);
    this.#seen.push((this.#seen[count - 1] ?? 0) + (unit.picture === undefined ? 0 : 1));
    return true;
  }
}
