import { stat } from 'node:fs/promises';
import { KvcError } from '@kvcapsule/contracts';
import { describeProfile, type Engine, type PartDescription } from '@kvcapsule/engine';
import { entryKey, type Entry } from './entries.js';
import { fitSpan, heldBytes, rawBytes } from './formats.js';
import type { Asker, Lane } from './lane.js';
import type { Measured } from './measure.js';
import { firstModel, type RemoteEngine } from './remote.js';
import { loadScene, type Series } from './workload.js';

/** One picture of the series in a prompt. */
export interface PictureBytes {
  readonly tokens: number;
  readonly visualTokens: number;
  /** As raw rows, without rounding to blocks. */
  readonly rawBytes: number;
}

/** Bytes of one picture under an entry. */
export interface EntryBytes {
  readonly tokens: number;
  /** Pages held, rounding included; markers included. */
  readonly heldBytes: number;
  /** What all pictures under the entry share: masks, bases and templates of its profile. */
  readonly sharedBytes: number;
  /** Held while it is encoded: the raw blocks and the new pages. */
  readonly encodingBytes: number;
}

/** What a profile keeps of one layer's keys or values. */
export type PartKept = Pick<PartDescription, 'layer' | 'part' | 'retention' | 'bitsPerRow'>;

/** An entry with everything that is known of it before it is measured. */
export interface Resolved extends Measured {
  readonly entry: Entry;
  readonly codec: string;
  /** Absent for another engine, which tells its own in its answers or not at all. */
  readonly bytes?: EntryBytes;
  readonly kept: readonly PartKept[];
}

async function spanOf(asker: Asker, series: Series): Promise<readonly number[]> {
  const { picture } = await loadScene(series, 0, 0);
  return (await asker.prompts.cutChat([picture], [], '')).pictures[0] ?? [];
}

/** Number of the entry's format in the engine; of the formats of its profile the one that fits the span. */
function formatOf({ info, profiles }: Engine, entry: Entry, span: readonly number[]): number {
  const { formats } = info;
  const file = profiles.findIndex(({ path }) => path === entry.profile);
  const own = [...formats.keys()].filter((format) =>
    entry.profile === undefined
      ? formats[format]?.codec === entry.codec
      : formats[format]?.profileFile === file,
  );
  const format = own.find((each) => fitSpan(info, each, span) !== undefined) ?? own[0] ?? -1;
  const codec = formats[format]?.codec;
  if (codec === undefined || codec !== (entry.codec ?? codec)) {
    const reason = codec === undefined ? 'the engine has no such codec' : `its profile is of codec ${codec}`;
    throw new KvcError('CONFIG_INVALID', `entry ${entry.name}: ${reason}`);
  }
  return format;
}

async function resolveRemote(entry: Entry, url: string): Promise<Resolved> {
  const apiKey = process.env['KVCAPSULE_API_KEY'];
  const remote: RemoteEngine = {
    url,
    model: entry.model ?? (await firstModel(url, apiKey)),
    ...(entry.kvCodec !== undefined && { kvCodec: entry.kvCodec }),
    ...(apiKey !== undefined && { apiKey }),
  };
  const identity = { ...entry, model: remote.model };
  return { key: entryKey(identity, undefined), entry, codec: entry.kvCodec ?? 'remote', kept: [], remote };
}

async function keptBy(profile: string): Promise<PartKept[]> {
  const { parts } = await describeProfile(profile);
  return parts.map(({ layer, part, retention, bitsPerRow }) => ({ layer, part, retention, bitsPerRow }));
}

/**
 * What an entry is to the engines of a lane.
 *
 * @throws KvcError CONFIG_INVALID naming the entry that cannot be measured
 */
export async function resolveEntry({ base, scaled }: Lane, series: Series, entry: Entry): Promise<Resolved> {
  const { info } = base.engine;
  if (entry.url !== undefined) return resolveRemote(entry, entry.url);
  if (entry.codec === 'raw') {
    const asker = entry.longestEdge === undefined ? base : scaled.get(entry.longestEdge);
    const { length } = await spanOf(asker ?? base, series);
    const held = Math.ceil(length / info.blockTokens) * info.blockBytes;
    const bytes = { tokens: length, heldBytes: held, sharedBytes: 0, encodingBytes: held };
    const { longestEdge, detail, weights } = entry;
    return {
      key: entryKey(entry, undefined),
      entry,
      codec: 'raw',
      kept: [],
      bytes,
      ...(longestEdge !== undefined && { longestEdge }),
      ...(detail !== undefined && { detail }),
      ...(weights !== undefined && { weights }),
    };
  }
  const span = await spanOf(base, series);
  const format = formatOf(base.engine, entry, span);
  const fit = fitSpan(info, format, span);
  if (fit === undefined) {
    throw new KvcError('CONFIG_INVALID', `entry ${entry.name}: its profile is for pictures of another shape`);
  }
  const profile = base.engine.profiles.find(({ path }) => path === entry.profile);
  const held = heldBytes(info, fit);
  return {
    key: entryKey(entry, profile?.contentSha256),
    entry,
    codec: info.formats[format]?.codec ?? '',
    format,
    bytes: {
      tokens: span.length,
      heldBytes: held,
      sharedBytes: entry.profile === undefined ? 0 : (await stat(entry.profile)).size,
      encodingBytes: Math.ceil(span.length / info.blockTokens) * info.blockBytes + held,
    },
    kept: entry.profile === undefined ? [] : await keptBy(entry.profile),
  };
}

export async function pictureBytes(asker: Asker, series: Series): Promise<PictureBytes> {
  const { info } = asker.engine;
  const span = await spanOf(asker, series);
  return {
    tokens: span.length,
    visualTokens: span.filter((token) => token === info.imageTokenId).length,
    rawBytes: rawBytes(info, span.length),
  };
}
