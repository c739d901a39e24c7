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

interface Entry {
  readonly features: Features;
  pins: number;
  /** The file that these pixels came from last. */
  file: FileName;
}

/**
 * The features of pictures, by name, within a bound of bytes. What a request uses is pinned and stays, whatever the
 * bound; of the rest the least recently used goes first. What comes and goes is written in a log by the names of
 * files, since these are what others know of a picture that they have not decoded.
 */
export class EncoderCache {
  /** Least recently used first. */
  readonly #entries = new Map<PictureName, Entry>();
  readonly #byFile = new Map<FileName, PictureName>();
  #bytes = 0;

  constructor(
    readonly capacityBytes: number,
    /** Called for features that the cache has forgotten. */
    private readonly evicted: (features: Features) => void,
    private readonly log: CacheLog,
  ) {
    log.addSource(() => this.#items());
  }

  get bytes(): number {
    return this.#bytes;
  }

  get pictures(): number {
    return this.#entries.size;
  }

  /** Pins a picture's features and makes them the most recently used. */
  pin(name: PictureName, file?: FileName): Features | undefined {
    const entry = this.#entries.get(name);
    if (!entry) return undefined;
    this.#entries.delete(name);
    this.#entries.set(name, entry);
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
  add(features: Features, file: FileName): void {
    if (this.#entries.has(features.name)) throw new Error('features are added twice');
    this.#entries.set(features.name, { features, pins: 1, file });
    this.#byFile.set(file, features.name);
    this.#bytes += features.bytes;
    this.log.stored(file, 'features', features.tokens, 0);
    this.#shrink();
  }

  /** Takes one pin back. */
  unpin(name: PictureName): void {
    const entry = this.#entries.get(name);
    if (!entry || entry.pins < 1) throw new Error('features are unpinned that are not pinned');
    entry.pins -= 1;
    this.#shrink();
  }

  #move(entry: Entry, file: FileName): void {
    if (entry.file === file) return;
    this.#byFile.delete(entry.file);
    this.log.removed(entry.file);
    entry.file = file;
    this.#byFile.set(file, entry.features.name);
    this.log.stored(file, 'features', entry.features.tokens, 0);
  }

  *#items(): Generator<CachedItem, undefined> {
    for (const { file, features } of this.#entries.values()) {
      yield { name: file, kind: 'features', tokens: features.tokens, pages: 0 };
    }
    return undefined;
  }

  #shrink(): void {
    if (this.#bytes <= this.capacityBytes) return;
    for (const [name, { features, pins, file }] of this.#entries) {
      if (pins > 0) continue;
      this.#entries.delete(name);
      this.#byFile.delete(file);
      this.#bytes -= features.bytes;
      this.log.removed(file);
      this.evicted(features);
      if (this.#bytes <= this.capacityBytes) return;
    }
  }
}
