import { type ContentOwner, Coordinated, EVICTION_POLICIES, type Owned } from '@kvcapsule/domain/eviction';
import type { FileName } from '@kvcapsule/domain/identity';
import type { CachedItem, CacheLog } from '@kvcapsule/domain/owners';

import type { PictureName } from './names.js';

/** One picture's features in the engine. */
export interface Features {
  readonly name: PictureName;
  readonly handle: number;
  /** Visual tokens. */
  readonly tokens: number;
  readonly bytes: number;
}

/** What is evicted by the rules of the pool's content, in bytes where that has pages. */
class Entry implements Owned {
  pins = 1;
  readonly parent = '';
  readonly textTokens = 0;
  readonly storedPages = 0;

  constructor(
    readonly features: Features,
    /** The file that these pixels came from last. */
    public file: FileName,
    private readonly owner: ContentOwner,
    readonly serial: number,
  ) {}

  /** What others know it by. */
  get name(): FileName {
    return this.file;
  }

  get pages(): number {
    return this.features.bytes;
  }

  get pictureTokens(): number {
    return this.features.tokens;
  }

  get tenant(): string {
    return this.owner.tenant;
  }

  get weight(): number {
    return this.owner.weight;
  }
}

export interface EncoderCacheOptions {
  readonly capacityBytes: number;
  /** Of it: what all tenants together are sure of; 0 to 1. */
  readonly guaranteedShare: number;
  /** Called for features that the cache has forgotten. */
  readonly evicted: (features: Features) => void;
  readonly log: CacheLog;
}

/** Of the bytes: with fewer unused, features are evicted soon. */
const SPARE_SHARE = 0.1;

/**
 * The features of pictures, by name, within a bound of bytes. What a request uses is pinned and stays, whatever the
 * bound; of the rest the least recently used goes first, copies of what other workers hold before last copies, and
 * tenants keep floors (`Coordinated`). What comes and goes is written in a log by the names of files, since these are
 * what others know of a picture that they have not decoded.
 */
export class EncoderCache {
  readonly #entries = new Map<PictureName, Entry>();
  readonly #byFile = new Map<FileName, PictureName>();
  readonly #eviction: Coordinated<Entry>;
  #bytes = 0;
  #serials = 0;

  constructor(private readonly options: EncoderCacheOptions) {
    const { capacityBytes, guaranteedShare: guaranteed, log } = options;
    this.#eviction = new Coordinated(EVICTION_POLICIES.lru<Entry>(), {
      ...{ capacityPages: capacityBytes, guaranteed },
    });
    log.addSource(() => this.#items());
  }

  get capacityBytes(): number {
    return this.options.capacityBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get pictures(): number {
    return this.#entries.size;
  }

  /** Files whose features go next, at most so many; none while there is room. */
  nextEvictions(count: number): string[] {
    if (this.#bytes < (1 - SPARE_SHARE) * this.capacityBytes) return [];
    return this.#eviction.next(count).map(({ file }) => file);
  }

  /** Names of files, by their first 128 bits in hex, whose features other workers hold too. */
  adviseCopies(names: Iterable<string>): void {
    this.#eviction.advise(names);
  }

  /** Pins a picture's features and makes them the most recently used. */
  pin(name: PictureName, file?: FileName): Features | undefined {
    const entry = this.#entries.get(name);
    if (!entry) return undefined;
    this.#eviction.withdraw(entry);
    this.#eviction.use(entry);
    entry.pins += 1;
    if (file !== undefined) this.#move(entry, file);
    return entry.features;
  }

  /** As {@link pin}, for a picture whose file has been seen. */
  pinFile(file: FileName): Features | undefined {
    const name = this.#byFile.get(file);
    return name && this.pin(name);
  }

  /** Adds features of a picture that is not here, and pins them. */
  add(features: Features, file: FileName, owner: ContentOwner): void {
    if (this.#entries.has(features.name)) throw new Error('features are added twice');
    const entry = new Entry(features, file, owner, this.#serials++);
    this.#entries.set(features.name, entry);
    this.#byFile.set(file, features.name);
    this.#bytes += features.bytes;
    this.#eviction.insert(entry);
    this.options.log.stored(file, 'features', features.tokens, 0);
    this.#shrink();
  }

  /** Takes one pin back. */
  unpin(name: PictureName): void {
    const entry = this.#entries.get(name);
    if (!entry || entry.pins < 1) throw new Error('features are unpinned that are not pinned');
    entry.pins -= 1;
    if (entry.pins > 0) return;
    this.#eviction.leave(entry);
    this.#eviction.offer(entry);
    this.#shrink();
  }

  #move(entry: Entry, file: FileName): void {
    if (entry.file === file) return;
    const { log } = this.options;
    this.#byFile.delete(entry.file);
    log.removed(entry.file);
    entry.file = file;
    this.#byFile.set(file, entry.features.name);
    log.stored(file, 'features', entry.features.tokens, 0);
  }

  *#items(): Generator<CachedItem, undefined> {
    for (const { file, features } of this.#entries.values()) {
      yield { name: file, kind: 'features', tokens: features.tokens, pages: 0 };
    }
    return undefined;
  }

  #shrink(): void {
    while (this.#bytes > this.capacityBytes) {
      const entry = this.#eviction.victim();
      if (!entry) return;
      const { features, file } = entry;
      this.#eviction.evict(entry);
      this.#entries.delete(features.name);
      this.#byFile.delete(file);
      this.#bytes -= features.bytes;
      this.options.log.removed(file);
      this.options.evicted(features);
    }
  }
}
