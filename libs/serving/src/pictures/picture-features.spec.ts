import { cacheDomain, type FileName } from '@kvcapsule/domain/identity';
import { CacheLog } from '@kvcapsule/domain/owners';
import { describe, expect, it } from 'vitest';

import type { Features } from './encoder-cache.js';
import type { PictureName } from './names.js';
import type { PictureEffect } from './picture-effects.js';
import { PARALLEL_PICTURES, PictureFeatures, type PictureUser } from './picture-features.js';

const DOMAIN = cacheDomain('t', '');
const TOKEN_BYTES = 4;
const IMAGE = { rgb: Uint8Array.of(1), width: 1, height: 1 };

interface User extends PictureUser {
  ended: boolean;
}

/** A request whose pictures have these files (by a number) and so many image tokens. */
function userOf(key: string, pictures: readonly { file: number; tokens?: number }[]): User {
  const requested = pictures.map(({ file, tokens = 10 }) => ({
    ...{ contentSha256: new Uint8Array(32).fill(file), param: `${key}/${file}`, imageTokens: tokens },
  }));
  const owner = { tenant: 't', weight: 1 };
  const features = new Map<number, Features>();
  return { key, pictures: requested, domain: DOMAIN, owner, features, ended: false };
}

function rig(cacheBytes = 1000) {
  const effects: PictureEffect[] = [];
  const log: string[] = [];
  const pictures = new PictureFeatures({
    ...{ cacheBytes, guaranteedShare: 0, tokenBytes: TOKEN_BYTES, push: (effect) => effects.push(effect) },
    lookedUp: (outcome) => log.push(outcome),
    evicted: () => log.push('evicted'),
    log: new CacheLog(),
  });
  /** Outcomes by key of the requests whose pictures are settled. */
  const done: Record<string, unknown> = {};
  const encode = (user: User, from = 0): void => {
    pictures.encode(user, from, (error) => {
      done[user.key] = error ?? 'ready';
    });
  };
  const taken = <K extends PictureEffect['kind']>(kind: K) => {
    const of = effects.filter(
      (effect): effect is Extract<PictureEffect, { kind: K }> => effect.kind === kind,
    );
    for (const effect of of) effects.splice(effects.indexOf(effect), 1);
    return of;
  };
  /** Keys of the requests whose files were asked for; each of them shows what `shows` says. */
  const decodeAll = (shows: (file: FileName) => string = (file) => `pixels of ${file}`): string[] =>
    taken('decodePicture').map(({ key, file }) => {
      pictures.decoded(file, { name: shows(file) as PictureName, image: IMAGE });
      return key;
    });
  let handles = 0;
  const encodeAll = (tokens = 10): number =>
    taken('encodePicture').map(({ name }) => {
      handles += 1;
      pictures.encoded(name, { handle: handles, tokens });
    }).length;
  return { pictures, log, done, encode, taken, decodeAll, encodeAll };
}

describe('PictureFeatures', () => {
  it('make what a request lacks, and tell when all of it is there', () => {
    const { pictures, done, encode, decodeAll, encodeAll, log } = rig();
    const user = userOf('a', [{ file: 1 }, { file: 2 }]);
    encode(user);
    expect(pictures.takenBytes).toBe(20 * TOKEN_BYTES);
    expect([decodeAll(), encodeAll(), done]).toEqual([['a', 'a'], 2, { a: 'ready' }]);
    expect([...user.features].map(([index, { handle, bytes }]) => [index, handle, bytes])).toEqual([
      [0, 1, 40],
      [1, 2, 40],
    ]);
    expect([pictures.computed, log]).toEqual([2, ['miss', 'miss']]);
  });

  it('are given up when the last request ends that waits for them, and made for one that comes after', () => {
    const { pictures, done, encode, decodeAll, encodeAll, taken } = rig();
    // one and the same picture in two files
    const users = [userOf('a', [{ file: 1 }]), userOf('b', [{ file: 2 }]), userOf('c', [{ file: 2 }])];
    users.forEach((user) => {
      encode(user);
    });
    decodeAll(() => 'one picture');
    const leave = (user: User | undefined) => {
      if (!user) throw new Error('no user');
      user.ended = true;
      pictures.leave(user);
    };
    leave(users[0]);
    leave(users[2]);
    expect(taken('abandonPicture')).toEqual([]);
    leave(users[1]);
    expect(taken('abandonPicture')).toMatchObject([{ name: 'one picture' }]);
    encode(userOf('d', [{ file: 1 }]));
    taken('encodePicture');
    pictures.encoded('one picture' as PictureName, { error: new Error('cancelled') });
    expect(pictures.takenBytes).toBe(10 * TOKEN_BYTES);
    expect([decodeAll(() => 'one picture'), encodeAll(), done['d']]).toEqual([['d'], 1, 'ready']);
  });

  it('tell how much of a request they are, by the share of those under way', () => {
    const { pictures, encode, decodeAll, taken } = rig();
    const user = userOf('a', [{ file: 1 }, { file: 2, tokens: 20 }]);
    const encoded = () => pictures.encodedTokens(user, () => 0.25);
    encode(user);
    expect(encoded()).toBeUndefined();
    decodeAll();
    expect(encoded()).toBe(7);
    const [first, second] = taken('encodePicture');
    if (!first || !second) throw new Error('two pictures are to be encoded');
    pictures.encoded(first.name, { handle: 1, tokens: 10 });
    expect(encoded()).toBe(15);
    pictures.encoded(second.name, { handle: 2, tokens: 20 });
    expect(encoded()).toBeUndefined();
  });

  it('ask for the file of a picture by all that its sender needs to find it', () => {
    const { encode, taken } = rig();
    encode(userOf('a', [{ file: 1 }, { file: 2 }]), 1);
    expect(taken('decodePicture')).toMatchObject([{ key: 'a', index: 1, param: 'a/2', domain: DOMAIN }]);
  });

  it('make nothing of pictures before the first that is needed, nor of those that are there', () => {
    const { pictures, done, encode, decodeAll, encodeAll } = rig();
    const user = userOf('a', [{ file: 1 }, { file: 2 }, { file: 3 }]);
    encode(user, 1);
    decodeAll();
    encodeAll();
    expect([...user.features.keys()]).toEqual([1, 2]);
    encode(user, 0);
    expect(pictures.takenBytes).toBe(30 * TOKEN_BYTES);
    expect([decodeAll(), encodeAll()]).toEqual([['a'], 1]);
    expect([done, user.features.size]).toEqual([{ a: 'ready' }, 3]);
  });

  it('need nothing of a request that has them all, not even room', () => {
    const { done, encode } = rig(10);
    encode(userOf('large', [{ file: 1, tokens: 100 }]));
    encode(userOf('text', []));
    expect(done).toEqual({ text: 'ready' });
  });

  it('are free to go when their request has let go of them', () => {
    const { encode, decodeAll, encodeAll, pictures, log } = rig(40);
    const user = userOf('a', [{ file: 1 }]);
    encode(user);
    decodeAll();
    encodeAll();
    pictures.release(user);
    encode(userOf('b', [{ file: 2 }]));
    decodeAll();
    encodeAll();
    expect(log).toEqual(['miss', 'miss', 'evicted']);
  });

  it('are found again by the file, without decoding it', () => {
    const { pictures, done, encode, decodeAll, encodeAll, log } = rig();
    const first = userOf('a', [{ file: 1 }]);
    encode(first);
    decodeAll();
    encodeAll();
    pictures.release(first);
    expect([first.features.size, pictures.takenBytes]).toEqual([0, 0]);
    const second = userOf('b', [{ file: 1 }]);
    encode(second);
    expect([done, decodeAll(), log]).toEqual([{ a: 'ready', b: 'ready' }, [], ['miss', 'hit']]);
    expect([second.features.get(0)?.handle, pictures.takenBytes]).toEqual([1, 40]);
  });

  it('are decoded and computed once for all that bring the same file at one time', () => {
    const { done, encode, decodeAll, encodeAll, log, pictures } = rig();
    for (const key of ['a', 'b', 'c']) encode(userOf(key, [{ file: 1 }]));
    expect([decodeAll(), encodeAll()]).toEqual([['a'], 1]);
    expect(done).toEqual({ a: 'ready', b: 'ready', c: 'ready' });
    expect([pictures.computed, log]).toEqual([1, ['miss', 'hit', 'hit']]);
  });

  it('are computed once for two files that show the same', () => {
    const { done, encode, decodeAll, encodeAll, pictures, log } = rig();
    encode(userOf('a', [{ file: 1 }]));
    encode(userOf('b', [{ file: 2 }]));
    expect([decodeAll(() => 'one picture'), encodeAll()]).toEqual([['a', 'b'], 1]);
    expect([done, pictures.computed, log]).toEqual([{ a: 'ready', b: 'ready' }, 1, ['miss', 'hit']]);
    // known by both files from here on
    encode(userOf('c', [{ file: 2 }]));
    expect(done).toMatchObject({ c: 'ready' });
    encode(userOf('d', [{ file: 3 }]));
    expect([decodeAll(() => 'one picture'), encodeAll(), done]).toMatchObject([['d'], 0, { d: 'ready' }]);
  });

  it('are each request’s own affair where a file cannot be read: others bring theirs', () => {
    const { done, encode, taken, pictures, decodeAll, encodeAll } = rig();
    for (const key of ['a', 'b']) encode(userOf(key, [{ file: 1 }]));
    const [wanted] = taken('decodePicture');
    pictures.decoded(wanted!.file, { error: 'unreadable' });
    expect([done, pictures.takenBytes]).toEqual([{ a: 'unreadable' }, 40]);
    expect([decodeAll(), encodeAll(), done]).toEqual([['b'], 1, { a: 'unreadable', b: 'ready' }]);
  });

  it('fail with the first failure by place in the request, once all its pictures are settled', () => {
    const { done, encode, taken, pictures } = rig();
    const user = userOf('a', [{ file: 1 }, { file: 2 }, { file: 3 }]);
    encode(user);
    const files = taken('decodePicture').map(({ file }) => file);
    pictures.decoded(files[2]!, { error: 'third' });
    pictures.decoded(files[1]!, { error: 'second' });
    expect(done).toEqual({});
    pictures.decoded(files[0]!, { name: 'n' as PictureName, image: IMAGE });
    pictures.encoded('n' as PictureName, { handle: 1, tokens: 10 });
    expect([done, pictures.takenBytes]).toEqual([{ a: 'second' }, 40]);
    pictures.release(user);
    expect(pictures.takenBytes).toBe(0);
  });

  it('pass on that the engine failed, to those that wait for the same pixels one by one', () => {
    const { done, encode, decodeAll, taken, pictures, encodeAll } = rig();
    encode(userOf('a', [{ file: 1 }]));
    encode(userOf('b', [{ file: 2 }]));
    decodeAll(() => 'one picture');
    expect(taken('encodePicture')).toHaveLength(1);
    pictures.encoded('one picture' as PictureName, { error: 'broken' });
    expect([done, encodeAll(), done]).toEqual([{ a: 'broken', b: 'ready' }, 1, { a: 'broken', b: 'ready' }]);
    expect(pictures.computed).toBe(1);
  });

  it('are refused where the picture makes another number of tokens than the prompt has', () => {
    const { done, encode, decodeAll, encodeAll, pictures, taken, log } = rig(0);
    const user = userOf('a', [{ file: 1, tokens: 9 }]);
    encode(user);
    decodeAll();
    encodeAll(10);
    expect(done['a']).toMatchObject({
      ...{ code: 'IMAGE_INVALID', param: 'a/1' },
      message: expect.stringMatching(/makes 10 .*has 9 /) as string,
    });
    expect([user.features.size, pictures.takenBytes]).toEqual([0, 0]);
    // no pin is left: a cache without room lets them go
    expect([taken('releaseFeatures'), log]).toEqual([
      [{ kind: 'releaseFeatures', handle: 1 }],
      ['miss', 'evicted'],
    ]);
  });

  it('are left to the cache where their request ends while they are made', () => {
    const { done, encode, decodeAll, encodeAll, pictures, taken } = rig(0);
    const user = userOf('a', [{ file: 1 }]);
    encode(user);
    decodeAll();
    user.ended = true;
    encodeAll();
    expect([done, user.features.size, pictures.takenBytes]).toEqual([{ a: 'ready' }, 0, 0]);
    expect(taken('releaseFeatures')).toHaveLength(1);
  });

  it('are not made for a request that has ended before it had its turn', () => {
    const { done, encode, taken, decodeAll, encodeAll, pictures } = rig(40);
    const [first, second] = [userOf('a', [{ file: 1 }]), userOf('b', [{ file: 2 }])];
    encode(first);
    encode(second);
    decodeAll();
    encodeAll();
    second.ended = true;
    pictures.release(first);
    expect([done, taken('decodePicture'), pictures.takenBytes]).toEqual([{ a: 'ready', b: 'ready' }, [], 0]);
  });

  it('wait for room, whole requests at a time', () => {
    const { done, encode, decodeAll, encodeAll, pictures } = rig(80);
    const first = userOf('a', [{ file: 1 }, { file: 2 }]);
    encode(first);
    encode(userOf('b', [{ file: 3 }]));
    expect(decodeAll()).toEqual(['a', 'a']);
    encodeAll();
    expect([done, decodeAll()]).toEqual([{ a: 'ready' }, []]);
    pictures.release(first, 0);
    expect([[...first.features.keys()], decodeAll()]).toEqual([[1], ['b']]);
    encodeAll();
    expect(done).toEqual({ a: 'ready', b: 'ready' });
  });

  it('are made of no more files at one time than the engine takes', () => {
    const { encode, taken, pictures } = rig(10_000);
    const many = Array.from({ length: PARALLEL_PICTURES + 2 }, (_, file) => ({ file }));
    encode(userOf('a', many));
    const files = taken('decodePicture');
    expect(files).toHaveLength(PARALLEL_PICTURES);
    pictures.decoded(files[0]!.file, { error: 'unreadable' });
    expect(taken('decodePicture')).toHaveLength(1);
  });

  it('leave the turn of a request that ended while it waited to others with the same file', () => {
    const { done, encode, taken, pictures, decodeAll, encodeAll } = rig(10_000);
    const many = Array.from({ length: PARALLEL_PICTURES }, (_, file) => ({ file: 10 + file }));
    encode(userOf('busy', many));
    const busy = taken('decodePicture');
    const [gone, stays] = [userOf('gone', [{ file: 1 }]), userOf('stays', [{ file: 1 }])];
    encode(gone);
    encode(stays);
    gone.ended = true;
    for (const { file } of busy) pictures.decoded(file, { error: 'unreadable' });
    expect([decodeAll(), encodeAll()]).toEqual([['stays'], 1]);
    expect(done).toMatchObject({ gone: { code: 'ABORTED' }, stays: 'ready' });
    expect([gone.features.size, stays.features.size]).toEqual([0, 1]);
  });

  it('take an answer that nobody waits for, or that has come before, as none', () => {
    const { pictures, done, encode, taken } = rig();
    pictures.decoded('f' as FileName, { error: 'late' });
    pictures.encoded('n' as PictureName, { error: 'late' });
    pictures.release(userOf('a', [{ file: 1 }]), 0);
    expect([done, pictures.takenBytes, pictures.cache.pictures]).toEqual([{}, 0, 0]);
    encode(userOf('a', [{ file: 1 }]));
    const [wanted] = taken('decodePicture');
    for (const name of ['n', 'm'])
      pictures.decoded(wanted!.file, { name: name as PictureName, image: IMAGE });
    expect(taken('encodePicture').map(({ name }) => name)).toEqual(['n']);
    for (const handle of [1, 2]) pictures.encoded('n' as PictureName, { handle, tokens: 10 });
    expect([done, pictures.computed]).toEqual([{ a: 'ready' }, 1]);
  });
});
