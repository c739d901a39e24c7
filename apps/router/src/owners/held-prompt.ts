import { nameFile } from '@kvcapsule/domain/identity';
import type { OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import type {
  ComingContent,
  HeldContent,
  Holdings,
  PicturePrompt,
  WorkerCache,
  WorkerView,
} from '@kvcapsule/domain/placement';
import { bytesOf, type NamedPrompt, PromptNames } from './prompt-names.js';

/** Who holds what. */
interface Owners {
  readonly index: OwnersIndex;
  /** What workers are about to hold, since this router has sent it there. */
  readonly coming: ComingContent;
  /** Under which number the index has a worker's content. */
  numberOf(workerId: string): OwnerNumber | undefined;
}

/** Names that workers of one class make alike, and how many of them each worker holds from the first on. */
interface Looked {
  readonly names: PromptNames;
  readonly prefixes: ReadonlyMap<OwnerNumber, number>;
}

/** What workers hold of one request's prompt. Names are made once a class of workers, as far as anybody holds them. */
export class HeldPrompt {
  readonly #classes: PromptNames[] = [];
  #pictures: PicturePrompt | undefined;

  constructor(
    private readonly owners: Owners,
    private readonly named: NamedPrompt,
  ) {}

  /** A worker is sent the prompt; the returned function is called with whether it has computed it. */
  send(workerId: string): (isComputed: boolean) => void {
    if (this.named.prompt.pictures.length === 0) return () => undefined;
    const ended = this.owners.coming.send(workerId, this.#asPictures());
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
    if (this.owners.coming.size === 0) return held;
    const coming = this.owners.coming.of(this.#asPictures(), performance.now());
    if (coming.size === 0) return held;
    return (worker) => {
      const there = coming.get(worker.record.workerId);
      const holds = held(worker);
      if (!there) return holds;
      const known = holds ?? this.#held(0, 0, []);
      const lacking = known.pictures - known.picturesHeld - known.featuresHeld;
      const picturesComing = Math.min(lacking, there.pictures.size);
      return { ...known, prefixComing: there.prefixTokens, picturesComing };
    };
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

  #asPictures(): PicturePrompt {
    const { prompt, domain } = this.named;
    return (this.#pictures ??= {
      tokenIds: prompt.tokenIds,
      pictures: prompt.pictures.map(({ sha256, offset, length }) => ({
        name: nameFile(sha256, domain),
        offset,
        length,
      })),
    });
  }

  /** Pictures whose features a worker holds. */
  #featuresHeld(): ReadonlyMap<number, readonly number[]> {
    const held = new Map<number, number[]>();
    for (const [picture, { name }] of this.#asPictures().pictures.entries()) {
      for (const owner of this.owners.index.ask(bytesOf(name))) {
        const pictures = held.get(owner);
        if (pictures) pictures.push(picture);
        else held.set(owner, [picture]);
      }
    }
    return held;
  }
}
