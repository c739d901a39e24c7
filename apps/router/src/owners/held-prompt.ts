import { nameFile } from '@kvcapsule/domain/identity';
import type { OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import {
  type ComingContent,
  contentKey,
  type ContentKey,
  type HeldContent,
  type Holdings,
  type WorkerCache,
  type WorkerView,
} from '@kvcapsule/domain/placement';
import { bytesOf, type NamedPrompt, PromptNames } from './prompt-names.js';

/** Who holds what. */
interface Owners {
  readonly index: OwnersIndex;
  /** What workers are about to hold. */
  readonly coming: ComingContent;
  /** Under which number the index has a worker's content. */
  numberOf(workerId: string): OwnerNumber | undefined;
}

/** A picture's file, by which its features are known. */
interface PictureFile {
  readonly name: Uint8Array;
  readonly key: ContentKey;
}

/** Names that workers of one class make alike, and how many of them each worker holds from the first on. */
interface Looked {
  readonly names: PromptNames;
  readonly prefixes: ReadonlyMap<OwnerNumber, number>;
}

/** What workers hold of one request's prompt. Names are made once a class of workers, as far as anybody holds them. */
export class HeldPrompt {
  readonly #classes: PromptNames[] = [];
  #files: readonly PictureFile[] | undefined;

  constructor(
    private readonly owners: Owners,
    private readonly named: NamedPrompt,
  ) {}

  /** A worker is sent the prompt; the returned function is called with whether it has computed it. */
  send(worker: WorkerView): (isComputed: boolean) => void {
    if (this.named.prompt.pictures.length === 0) return () => undefined;
    const files = this.#pictureFiles().map(({ key }) => key);
    const spans = () => this.#namesFor(worker).spans.map(({ key }) => key);
    const ended = this.owners.coming.send(worker.record.workerId, files, spans);
    return (isComputed) => {
      ended(isComputed, performance.now());
    };
  }

  /** What a worker's caches hold, of whatever prompts; undefined where nothing is known of it. */
  cacheOf({ record }: WorkerView): WorkerCache | undefined {
    const owner = this.owners.numberOf(record.workerId);
    return owner === undefined ? undefined : this.owners.index.holding(owner);
  }

  /** At this moment. */
  look(): Holdings {
    const held = this.#lookInIndex();
    const coming = this.#picturesComing();
    if (coming.size === 0) return held;
    return (worker) => {
      const count = coming.get(worker.record.workerId);
      const holds = held(worker);
      if (count === undefined) return holds;
      const known = holds ?? this.#held(0, 0, []);
      const lacking = known.pictures - known.picturesHeld - known.featuresHeld;
      return { ...known, prefixComing: this.#prefixComing(worker), picturesComing: Math.min(lacking, count) };
    };
  }

  /** How many of the pictures workers are about to have in any form. */
  #picturesComing(): ReadonlyMap<string, number> {
    const { coming } = this.owners;
    const counts = new Map<string, number>();
    coming.forgetTold(performance.now());
    if (coming.size === 0) return counts;
    for (const { key } of this.#pictureFiles()) {
      for (const workerId of coming.workersWith(key)) counts.set(workerId, (counts.get(workerId) ?? 0) + 1);
    }
    return counts;
  }

  /** Tokens to the end of the last picture whose span a worker is about to have: all before it is there then. */
  #prefixComing(worker: WorkerView): number {
    const { workerId } = worker.record;
    const last = this.#namesFor(worker).spans.findLast(({ key }) => this.owners.coming.has(key, workerId));
    return last?.tokens ?? 0;
  }

  #lookInIndex(): Holdings {
    const { index } = this.owners;
    if (index.pairs === 0) return () => undefined;
    const classes: Looked[] = [];
    const lookedFor = (worker: WorkerView): Looked => {
      const names = this.#namesFor(worker);
      const looked = { names, prefixes: index.prefixes(names) };
      classes.push(looked);
      return looked;
    };
    const features = this.#featuresHeld();
    // of a thousand workers most hold nothing of a prompt
    const nothing = this.#held(0, 0, []);
    return (worker) => {
      const owner = this.owners.numberOf(worker.record.workerId);
      if (owner === undefined) return undefined;
      const { names, prefixes } = classes.find((each) => each.names.fit(worker)) ?? lookedFor(worker);
      const [count, held] = [prefixes.get(owner), features.get(owner)];
      if (count === undefined && held === undefined) return nothing;
      const { tokens, pictures } = names.prefix(count ?? 0);
      return this.#held(tokens, pictures, held ?? []);
    };
  }

  #held(prefixTokens: number, pictures: number, features: readonly number[]): HeldContent {
    const { prompt } = this.named;
    return {
      prefixTokens,
      promptTokens: prompt.tokenIds.length,
      picturesHeld: pictures,
      featuresHeld: features.filter((picture) => picture >= pictures).length,
      pictures: prompt.pictures.length,
    };
  }

  #namesFor(worker: WorkerView): PromptNames {
    const known = this.#classes.find((names) => names.fit(worker));
    if (known) return known;
    const names = new PromptNames(worker, this.named);
    this.#classes.push(names);
    return names;
  }

  #pictureFiles(): readonly PictureFile[] {
    const { prompt, domain } = this.named;
    return (this.#files ??= prompt.pictures.map(({ sha256 }) => {
      const name = bytesOf(nameFile(sha256, domain));
      return { name, key: contentKey(name) };
    }));
  }

  /** Pictures whose features a worker holds. */
  #featuresHeld(): ReadonlyMap<number, readonly number[]> {
    const held = new Map<number, number[]>();
    for (const [picture, { name }] of this.#pictureFiles().entries()) {
      for (const owner of this.owners.index.ask(name)) {
        const pictures = held.get(owner);
        if (pictures) pictures.push(picture);
        else held.set(owner, [picture]);
      }
    }
    return held;
  }
}
