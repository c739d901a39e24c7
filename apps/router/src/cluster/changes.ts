import type { ClusterDelta } from '@kvcapsule/contracts/cluster';

/** What a list of things holds, as text by their keys, to tell what has changed since the last look. */
export class Changes<Key extends string | number, Item> {
  #told = new Map<Key, string>();

  constructor(private readonly keyOf: (item: Item) => Key) {}

  /** Texts of the items that are new or not as they were, and keys of those that have gone. */
  look(items: readonly Item[]): { readonly changed: string[]; readonly gone: Key[] } {
    const told = new Map<Key, string>();
    const changed: string[] = [];
    for (const item of items) {
      const [key, text] = [this.keyOf(item), JSON.stringify(item)];
      if (this.#told.get(key) !== text) changed.push(text);
      told.set(key, text);
    }
    const gone = [...this.#told.keys()].filter((key) => !told.has(key));
    this.#told = told;
    return { changed, gone };
  }
}

/** The same of one thing. */
export class Change<Item> {
  #told = '';

  /** Its text where it is not as it was. */
  look(item: Item): string | undefined {
    const text = JSON.stringify(item);
    if (text === this.#told) return undefined;
    this.#told = text;
    return text;
  }
}

type Parts = Partial<Record<Exclude<keyof ClusterDelta, 'object' | 'at'>, string | undefined>>;

/** A delta of parts that are text already; undefined where nothing has changed. */
export function deltaText(parts: Parts, at: number): string | undefined {
  const told = Object.entries(parts).filter(([, text]) => text !== undefined);
  if (told.length === 0) return undefined;
  const fields = told.map(([name, text]) => `"${name}":${text}`).join(',');
  return `{"object":"cluster.delta","at":${at},${fields}}`;
}

/** Texts as a list; undefined for an empty one. */
export function listText(texts: readonly string[]): string | undefined {
  return texts.length === 0 ? undefined : `[${texts.join(',')}]`;
}
