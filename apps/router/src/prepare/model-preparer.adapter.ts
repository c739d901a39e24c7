import { KvcError } from '@kvcapsule/contracts/errors';
import { openModelFolder, type ChatPart, type ModelFolder } from '@kvcapsule/model';
import {
  DEFAULT_IMAGE_POLICY,
  fetchPicture,
  type ImagePolicy,
  inspectPicture,
  type LoadedImage,
} from '@kvcapsule/multimodal';
import type { PlainHistogram } from '@kvcapsule/platform/telemetry';
import {
  type ChatTurn,
  type PictureSource,
  type PreparedPrompt,
  PromptPreparer,
} from './prompt-preparer.port.js';
import type { Telemetry } from '../operations/telemetry.service.js';
import type { Settings } from '../settings.js';

/** The router holds a request's pictures until its answer is complete: its worker may ask for them at any time. */
const MAX_ENCODED_BYTES = 48 * 1024 * 1024;

/** Prepares prompts by a model folder's template, tokenizer and picture rules. */
export class ModelPreparer extends PromptPreparer {
  readonly contextTokens: number;
  readonly processorRevision: string;

  private constructor(
    private readonly folder: ModelFolder,
    private readonly policy: ImagePolicy,
    private readonly telemetry: Telemetry,
  ) {
    super();
    this.contextTokens = folder.contextTokens;
    this.processorRevision = folder.processorRevision;
  }

  /** Rejects with `MODEL_INVALID` naming the file at fault. */
  static async open(
    { modelDir, allowedImageHosts }: { readonly modelDir: string } & Pick<Settings, 'allowedImageHosts'>,
    telemetry: Telemetry,
  ): Promise<ModelPreparer> {
    const policy = { ...DEFAULT_IMAGE_POLICY, allowHosts: allowedImageHosts };
    return new ModelPreparer(await openModelFolder(modelDir), policy, telemetry);
  }

  async prepare(turns: readonly ChatTurn[], signal: AbortSignal): Promise<PreparedPrompt> {
    const sources = turns.flatMap(({ content }) => content).filter((part) => typeof part !== 'string');
    this.#checkCount(sources);
    const pictures = await this.#loadAll(sources, signal);
    const messages = turns.map(({ role, content }) => ({ role, content: content.map(chatPart) }));
    const sizes = pictures.map(({ width, height }) => ({ width, height }));
    const prompt = await this.folder.prepareChat({
      messages,
      pictures: sizes,
      addGenerationPrompt: true,
      signal,
    });
    return {
      tokenIds: Array.from(prompt.tokenIds),
      pictures: prompt.pictures.map((span, index) => ({ ...span, ...picked(pictures, sources, index) })),
    };
  }

  async close(): Promise<void> {
    await this.folder.dispose();
  }

  /** More pictures than could ever fit are not even fetched. */
  #checkCount(sources: readonly PictureSource[]): void {
    const most = Math.floor(this.contextTokens / this.folder.tokensPerTile);
    const first = sources[most];
    if (!first) return;
    const message = `The context has room for ${most} pictures at most; the messages have ${sources.length}.`;
    throw new KvcError('IMAGE_TOO_MANY', message, { param: first.param });
  }

  async #loadAll(sources: readonly PictureSource[], signal: AbortSignal): Promise<LoadedImage[]> {
    const [first] = sources;
    if (!first) return [];
    // A signal made of others costs as much as the rest of this, and alone it has nobody to stop.
    const pictures =
      sources.length === 1 ? [await this.#load(first, signal)] : await this.#loadTogether(sources, signal);
    const bytes = pictures.reduce((sum, picture) => sum + picture.bytes.length, 0);
    if (bytes <= MAX_ENCODED_BYTES) return pictures;
    const message = `The pictures have more than ${MAX_ENCODED_BYTES} bytes together.`;
    throw new KvcError('IMAGE_TOO_LARGE', message, { param: 'messages' });
  }

  /** One picture that fails stops the fetching of the others. */
  async #loadTogether(sources: readonly PictureSource[], signal: AbortSignal): Promise<LoadedImage[]> {
    const failure = new AbortController();
    const either = AbortSignal.any([signal, failure.signal]);
    try {
      return await Promise.all(sources.map((source) => this.#load(source, either)));
    } catch (error) {
      failure.abort(error);
      throw error;
    }
  }

  async #load({ url, param }: PictureSource, signal: AbortSignal): Promise<LoadedImage> {
    const { imageFetch, imageInspect } = this.telemetry.metrics;
    const options = { param, policy: this.policy, signal };
    const bytes = await timed(imageFetch, fetchPicture(url, options));
    const picture = await timed(imageInspect, inspectPicture(bytes, options));
    this.#checkShape(picture, param);
    return picture;
  }

  /** The model's tiling refuses some sizes; only here is it known which part such a picture came from. */
  #checkShape({ width, height }: LoadedImage, param: string): void {
    try {
      this.folder.pictureSpan(width, height);
    } catch (error) {
      throw error instanceof KvcError
        ? new KvcError(error.code, error.message, { ...error.options, param })
        : error;
    }
  }
}

async function timed<T>(histogram: PlainHistogram, task: Promise<T>): Promise<T> {
  const stop = histogram.startTimer();
  try {
    return await task;
  } finally {
    stop();
  }
}

const chatPart = (part: string | PictureSource): ChatPart =>
  typeof part === 'string' ? { type: 'text', text: part } : { type: 'image' };

/** What the worker needs of the picture with this index. */
function picked(pictures: readonly LoadedImage[], sources: readonly PictureSource[], index: number) {
  const [picture, source] = [pictures[index], sources[index]];
  if (!picture || !source) throw new RangeError('more spans than pictures');
  const { buffer, byteOffset, byteLength } = picture.bytes;
  return {
    sha256: Buffer.from(picture.sha256, 'hex'),
    encoded: Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength),
    param: source.param,
  };
}
