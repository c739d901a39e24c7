import type { Delta, Finished } from '@kvcapsule/contracts/worker';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Subscriber, Transcript, type TranscriptEntry, type TranscriptReader } from './transcript.js';

const delta = (text: string): Delta => ({
  text,
  tokenIds: [...text].map((c) => c.charCodeAt(0)),
  logprobs: [],
});
const FINISHED: Finished = { reason: 1, text: '', usage: undefined };

/** Takes everything when woken, unless it is lazy. */
class Follower implements Subscriber {
  lazy = false;
  wakes = 0;
  cut: string | undefined;
  readonly taken: TranscriptEntry[] = [];
  readonly reader: TranscriptReader;

  constructor(private readonly transcript: Transcript) {
    this.reader = transcript.subscribe(this);
  }

  get text(): string {
    return this.taken.map(({ text }) => text).join('');
  }

  wake(): void {
    this.wakes += 1;
    if (!this.lazy) this.take();
  }

  take(): void {
    this.taken.push(...this.reader.take());
  }

  prefilled(): void {
    // it waits for text
  }

  cutOff(reason: Error & { code?: string }): void {
    this.cut = reason.code;
  }
}

function scene(windowBytes = 1_000_000, scored = false) {
  const log: string[] = [];
  const transcript = new Transcript({
    ...{ windowBytes, scored },
    owner: {
      abandoned: (reason) => log.push(`abandoned: ${reason.message}`),
      closed: () => log.push('closed'),
    },
    observer: {
      started: () => log.push('started'),
      appended: () => log.push('appended'),
      ended: (finished) => log.push(finished ? 'finished' : 'failed'),
    },
  });
  return { log, transcript, follower: new Follower(transcript) };
}

describe('a transcript', () => {
  it('wakes once for all that a frame brought', () => {
    const { transcript, follower, log } = scene();
    for (const text of ['a', 'b', 'c']) transcript.append(0, delta(text));
    expect(follower.wakes).toBe(0);
    transcript.flush(0);
    transcript.flush(0);
    expect([follower.wakes, follower.text]).toEqual([1, 'abc']);
    expect(follower.taken.map(({ sequence }) => sequence)).toEqual([0, 1, 2]);
    expect(log).toEqual(['appended']);
  });

  it('tells the last text and the end in one go', () => {
    const { transcript, follower, log } = scene();
    transcript.append(0, delta('a'));
    transcript.finish({ ...FINISHED, text: 'b' });
    transcript.flush(0);
    transcript.append(0, delta('late'));
    transcript.fail(new Error('late'));
    expect([follower.wakes, follower.text]).toEqual([1, 'ab']);
    expect(transcript.end).toMatchObject({ finished: { text: 'b' } });
    expect(log).toEqual(['appended', 'finished']);
  });

  it('keeps the ids of all tokens, whoever has taken them', () => {
    const { transcript, follower } = scene();
    for (const text of ['ab', '', 'c']) {
      transcript.append(0, delta(text));
      transcript.flush(0);
    }
    expect(follower.taken).toHaveLength(3);
    expect(transcript.windowBytes).toBe(0);
    expect(transcript.tokenIds).toEqual([97, 98, 99]);
  });

  it('is abandoned when the last subscriber leaves before the end, and closed when it leaves after', () => {
    const early = scene();
    const other = new Follower(early.transcript);
    other.reader.leave(new Error('bored'));
    expect(early.log).toEqual([]);
    early.follower.reader.leave(new Error('gone'));
    early.follower.reader.leave(new Error('gone again'));
    expect(early.log).toEqual(['abandoned: gone']);
    early.transcript.fail(new Error('aborted'));
    expect(early.log).toEqual(['abandoned: gone', 'failed', 'closed']);
    const late = scene();
    late.transcript.finish(FINISHED);
    late.follower.reader.leave(new Error('gone'));
    expect(late.log).toEqual(['finished', 'closed']);
  });

  it('drops a subscriber that falls behind by more than the window, and nobody else', () => {
    const { transcript, follower, log } = scene(1_000);
    const slow = new Follower(transcript);
    slow.lazy = true;
    for (let i = 0; i < 20; i += 1) {
      transcript.append(0, delta('x'.repeat(20)));
      transcript.flush(0);
    }
    expect(slow.cut).toBe('CLIENT_TOO_SLOW');
    expect(follower.cut).toBeUndefined();
    expect(follower.text).toHaveLength(400);
    follower.lazy = true;
    for (let i = 0; i < 20; i += 1) transcript.append(0, delta('x'.repeat(20)));
    expect(follower.cut).toBe('CLIENT_TOO_SLOW');
    expect(log.at(-1)).toMatch(/^abandoned: .*slowly/);
    expect(transcript.windowBytes).toBeLessThan(1_000);
  });

  it('goes on with another worker where the first one ended', () => {
    const { transcript, follower } = scene();
    transcript.lieWith('fp_a');
    transcript.start({ promptTokens: 1, cachedTokens: 1 });
    transcript.append(0, delta('on'));
    transcript.lieWith('fp_b');
    transcript.start({ promptTokens: 1, cachedTokens: 0 });
    transcript.append(0, delta('ce'));
    transcript.finish({
      ...FINISHED,
      usage: { promptTokens: 1, completionTokens: 4, cachedTokens: 0, kv: undefined },
    });
    expect(follower.taken.map(({ sequence, text, fingerprint }) => [sequence, text, fingerprint])).toEqual([
      [0, 'on', 'fp_a'],
      [1, 'ce', 'fp_b'],
    ]);
    // what the client was told of its prompt stays true
    expect(transcript.started).toEqual({ promptTokens: 1, cachedTokens: 1 });
    expect(transcript.end).toMatchObject({ finished: { usage: { completionTokens: 4, cachedTokens: 1 } } });
    expect(transcript.tokenIds).toEqual([...'once'].map((c) => c.charCodeAt(0)));
  });

  it('believes the second worker of the prompt where the first one gave no token', () => {
    const { transcript } = scene();
    transcript.start({ promptTokens: 1, cachedTokens: 1 });
    transcript.start({ promptTokens: 1, cachedTokens: 0 });
    expect(transcript.started).toEqual({ promptTokens: 1, cachedTokens: 0 });
  });

  it('says when the request is known to be sound, and when its worker has begun', () => {
    const { transcript, log } = scene();
    expect([transcript.accepted, transcript.started]).toEqual([false, undefined]);
    transcript.accept();
    transcript.start({ promptTokens: 1, cachedTokens: 0 });
    expect([transcript.accepted, transcript.started]).toEqual([true, { promptTokens: 1, cachedTokens: 0 }]);
    expect(log).toEqual(['started']);
  });

  it('ends with what was thrown', () => {
    const { transcript, follower } = scene();
    const fault = new Error('broken');
    transcript.fail(fault);
    expect(transcript.end).toEqual({ finished: undefined, fault });
    // what a worker says after the end is nobody's answer
    transcript.append(0, delta('late'));
    transcript.flush(0);
    expect([follower.text, transcript.tokenIds, transcript.windowBytes]).toEqual(['', [], 0]);
  });

  it('is over with its end, whatever a worker says that has yet to hear of an abort', () => {
    const { transcript, follower, log } = scene();
    transcript.append(0, delta('a'));
    transcript.flush(0);
    transcript.fail(new Error('aborted'));
    const wakes = follower.wakes;
    transcript.start({ promptTokens: 3, cachedTokens: 0 });
    transcript.append(0, delta('b'));
    transcript.finish({ ...FINISHED, text: 'c' });
    transcript.flush(1);
    expect(log).toEqual(['appended', 'failed']);
    expect([follower.text, follower.wakes, transcript.started]).toEqual(['a', wakes, undefined]);
  });

  it('tells of scored tokens with their text, and has a last entry that brings no token', () => {
    const { transcript, follower } = scene(1_000_000, true);
    const scored = (text: string) => ({
      ...{ tokenId: 9, text, bytes: Buffer.from(text), logprob: -1, top: [] },
      insideCharacter: false,
    });
    transcript.append(0, { text: '', tokenIds: [1], logprobs: [scored('a')] });
    transcript.append(0, { text: 'ab', tokenIds: [2], logprobs: [scored('b'), scored('c')] });
    transcript.finish({ ...FINISHED, text: 'c' });
    expect(follower.taken).toMatchObject([
      { text: '', logprobs: [], tokenIds: [1] },
      { text: 'ab', logprobs: [scored('a'), scored('b')], tokenIds: [2] },
      { text: 'c', logprobs: [scored('c')], tokenIds: [] },
    ]);
    const silent = scene();
    silent.transcript.finish(FINISHED);
    expect(silent.follower.taken).toEqual([]);
  });

  it('keeps what the slowest has not taken, and counts its text, tokens and log-probabilities', () => {
    const top = [{ tokenId: 1, text: 'a', bytes: undefined, logprob: -2 }];
    const scored = { tokenId: 9, text: 'ab', bytes: undefined, logprob: -1, top, insideCharacter: false };
    const sizeOf = (of: Delta): number => {
      const { transcript, follower } = scene();
      follower.lazy = true;
      transcript.append(0, of);
      return transcript.windowBytes;
    };
    const empty = { text: '', tokenIds: [], logprobs: [] };
    const base = sizeOf(empty);
    expect(base).toBeGreaterThan(0);
    expect(sizeOf({ ...empty, text: 'abc' }) - base).toBe(3 * 2);
    expect(sizeOf({ ...empty, tokenIds: [1, 2] }) - base).toBe(2 * 8);
    // a token's own and its likeliest ones'
    const one = sizeOf({ ...empty, logprobs: [{ ...scored, top: [] }] }) - base;
    expect(one).toBeGreaterThan(0);
    expect(sizeOf({ ...empty, logprobs: [scored, scored] }) - base).toBe(4 * one);
  });

  it('lets an entry go when the last who needs it has taken it, or has left', () => {
    const { transcript, follower } = scene();
    const slow = new Follower(transcript);
    const slower = new Follower(transcript);
    for (const one of [slow, slower]) one.lazy = true;
    const sizes: number[] = [];
    const note = (): void => void sizes.push(transcript.windowBytes);
    for (const text of ['a', 'b', 'c']) transcript.append(0, delta(text));
    transcript.flush(0);
    note();
    slow.take();
    note();
    transcript.append(0, delta('d'));
    transcript.flush(0);
    slower.reader.leave(new Error('bored'));
    note();
    const [three = 0] = sizes;
    expect(sizes).toEqual([three, three, three / 3]);
    slow.take();
    expect([slow.text, follower.text, transcript.windowBytes]).toEqual(['abcd', 'abcd', 0]);
    slow.take();
    expect(slow.taken.map(({ sequence }) => sequence)).toEqual([0, 1, 2, 3]);
  });

  it('keeps what one has yet to take, however much it has let go of before', () => {
    const { transcript, follower } = scene();
    const other = new Follower(transcript);
    for (const one of [follower, other]) one.lazy = true;
    for (const text of ['a', 'b', 'c', 'd']) transcript.append(0, delta(text));
    for (const one of [follower, other]) one.take();
    transcript.append(0, delta('e'));
    follower.take();
    transcript.append(0, delta('f'));
    other.take();
    follower.take();
    expect([follower.text, other.text, transcript.windowBytes]).toEqual(['abcdef', 'abcdef', 0]);
  });

  it('cuts nobody off whose window is just full', () => {
    const sizes = scene();
    sizes.follower.lazy = true;
    sizes.transcript.append(0, delta('x'));
    const { transcript, follower } = scene(2 * sizes.transcript.windowBytes);
    follower.lazy = true;
    transcript.append(0, delta('x'));
    transcript.append(0, delta('x'));
    expect(follower.cut).toBeUndefined();
    transcript.append(0, delta('x'));
    expect(follower.cut).toBe('CLIENT_TOO_SLOW');
  });

  it('gives every subscriber every entry once and in order, and holds no more than its window', () => {
    const step = fc.record({
      kind: fc.constantFrom('append', 'append', 'append', 'flush', 'take', 'lazy', 'join', 'leave'),
      who: fc.nat(3),
      size: fc.nat(60),
    });
    const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const { transcript, follower } = scene(4_000);
      const followers = [follower];
      const from = new Map<Follower, number>([[follower, 0]]);
      const left = new Set<Follower>();
      let appended = 0;
      for (const { kind, who, size } of steps) {
        const one = followers[who % followers.length] ?? follower;
        const isHere = !left.has(one) && one.cut === undefined;
        if (kind === 'append') {
          transcript.append(0, delta(String.fromCharCode(97 + (appended % 26)).repeat(size)));
          appended += 1;
        } else if (kind === 'flush') transcript.flush(0);
        else if (kind === 'take' && isHere) one.take();
        else if (kind === 'lazy') one.lazy = !one.lazy;
        else if (kind === 'join') {
          const joined = new Follower(transcript);
          followers.push(joined);
          from.set(joined, -1);
        } else if (kind === 'leave' && isHere) {
          left.add(one);
          one.reader.leave(new Error('left'));
        }
        expect(transcript.windowBytes).toBeLessThanOrEqual(4_000);
      }
      for (const one of followers.filter((f) => !left.has(f) && f.cut === undefined)) {
        one.take();
        const first = from.get(one) === 0 ? 0 : (one.taken[0]?.sequence ?? appended);
        expect(one.taken.map(({ sequence }) => sequence)).toEqual(
          Array.from({ length: appended - first }, (_, i) => first + i),
        );
      }
      const awaited = followers.some((f) => !left.has(f) && f.cut === undefined);
      if (awaited || appended === 0) expect(transcript.windowBytes).toBe(0);
    });
    fc.assert(property, { seed: 7, numRuns: 300 });
  });
});
