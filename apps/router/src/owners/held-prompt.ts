import { nameFile } from '@kvcapsule/domain/identity';
import type { OwnerNumber, OwnersIndex } from '@kvcapsule/domain/owners';
import type { HeldContent, WorkerView } from '@kvcapsule/domain/placement';
import { bytesOf, type NamedPrompt, PromptNames } from './prompt-names.js';

/** Who holds what. */
interface Owners {
  readonly index: OwnersIndex;
  /** Under which number the index has a worker's content. */
  numberOf(workerId: string): OwnerNumber | undefined;
}

/** A decision asks of every worker; one that comes later than this looks again. */
const FRESH_MS = 20;

/** Names that workers of one class make alike, and how many of them each worker holds from the first on. */
interface Known {
  readonly names: PromptNames;
  prefixes: Map<OwnerNumber, number>;
  lookedMs: number;
}

/** What workers hold of one request's prompt. Names are made once a class of workers, as far as anybody holds them. */
export class HeldPrompt {
  readonly #classes: Known[] = [];
  /** Pictures whose features a worker holds. */
  #features: Map<number, number[]> | undefined;

  constructor(
    private readonly owners: Owners,
    private readonly named: NamedPrompt,
  ) {}

  /** Undefined where nothing is known of that worker. */
  on(worker: WorkerView): HeldContent | undefined {
    if (this.owners.index.pairs === 0) return undefined;
    const owner = this.owners.numberOf(worker.record.workerId);
    if (owner === undefined) return undefined;
    const { names, prefixes } = this.#known(worker);
    const { tokens, pictures } = names.prefix(prefixes.get(owner) ?? 0);
    const { prompt } = this.named;
    const features = this.#featuresHeld().get(owner) ?? [];
    return {
      prefixTokens: tokens,
      promptTokens: prompt.tokenIds.length,
      picturesHeld: pictures,
      featuresHeld: features.filter((picture) => picture >= pictures).length,
      pictures: prompt.pictures.length,
    };
  }

  #known(worker: WorkerView): Known {
    let known = this.#classes.find(({ names }) => names.fit(worker));
    if (!known) {
      const names = new PromptNames(worker, this.named);
      this.#classes.push((known = { names, prefixes: new Map(), lookedMs: -Infinity }));
    }
    const nowMs = performance.now();
    if (nowMs - known.lookedMs <= FRESH_MS) return known;
    known.lookedMs = nowMs;
    known.prefixes = this.owners.index.prefixes(known.names);
    this.#features = undefined;
    return known;
  }

  #featuresHeld(): Map<number, number[]> {
    if (this.#features) return this.#features;
    const held = new Map<number, number[]>();
    const { prompt, domain } = this.named;
    for (const [picture, { sha256 }] of prompt.pictures.entries()) {
      for (const owner of this.owners.index.ask(bytesOf(nameFile(sha256, domain)))) {
        held.set(owner, [...(held.get(owner) ?? []), picture]);
      }
    }
    return (this.#features = held);
  }
}
