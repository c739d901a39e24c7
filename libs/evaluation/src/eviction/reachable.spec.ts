import { EVICTION_POLICIES, type RebuildCost } from '@kvcapsule/domain/eviction';
import type { ContentName } from '@kvcapsule/domain/identity';
import { describe, expect, it } from 'vitest';

import { optimum } from './optimum.js';
import { Draws, randomOf } from './random.js';
import { reachable } from './reachable.js';
import { replay } from './replay.js';
import type { KnownRequest, KnownTrace, Piece } from './trace.js';
import { TRACE_NAMES, traceOf } from './traffic.js';

const pieceOf = (name: string): Piece => ({
  ...{ name: name as ContentName, parent: 'root' as ContentName, start: 0, picture: undefined },
  ...{ run: true, tokenIds: [1], pages: 8 },
});
const requestOf = (at: number, piece: Piece, known: Partial<KnownRequest> = {}): KnownRequest => ({
  ...{ at, conversation: `${at}`, goesOn: 0, tenant: '', pieces: [piece], promptPieces: 1, ...known },
});
const tokens = ({ tokenIds }: Piece) => tokenIds.length;
const tokenCost: RebuildCost = ({ textTokens, pictureTokens }) => textTokens + pictureTokens;
const never = { within: () => 0, sharedPart: () => undefined, rate: () => 0 };

describe('reachable', () => {
  it('is what keeping the likeliest saves, where all chances are known and stay', () => {
    const draws = new Draws(randomOf(3));
    const chances = new Map([
      [pieceOf('often'), 0.6],
      [pieceOf('now and then'), 0.3],
      [pieceOf('seldom'), 0.1],
    ]);
    const drawn = () => {
      let left = draws.whole(0, 999) / 1_000;
      for (const [piece, chance] of chances) if ((left -= chance) < 0) return piece;
      return pieceOf('none');
    };
    const trace: KnownTrace = {
      ...{ ...never, name: 'drawn', sharedPart: ({ name }) => name },
      requests: Array.from({ length: 4_000 }, (_, at) => requestOf(at, drawn())),
      rate: (part) => [...chances].find(([{ name }]) => name === part)?.[1] ?? 0,
    };
    // beside the last one's content there is room for one of the others: 0.9 of what follows, after the seldom one 0.7
    expect(reachable(trace, 16, tokens) / 4_000).toBeCloseTo(0.6 * 0.9 + 0.3 * 0.9 + 0.1 * 0.7, 1);
  });

  it('does not know who goes on, as the optimum does', () => {
    const draws = new Draws(randomOf(5));
    const requests: KnownRequest[] = [];
    for (let at = 0; at < 2_000; at += 1) {
      const [piece, conversation] = [pieceOf(`${at}`), `${at}`];
      requests.push(requestOf(at, piece, { conversation, goesOn: 0.5 }));
      if (draws.chance(0.5)) requests.push(requestOf(at + 10.5, piece, { conversation }));
    }
    const trace: KnownTrace = {
      ...{ ...never, name: 'drawn', within: (seconds) => Number(seconds > 10) },
      requests: requests.sort((a, b) => a.at - b.at),
    };
    const returns = requests.length - 2_000;
    // of ten that may go on there is room for five
    expect(optimum(trace, 48, tokens).upper / returns).toBeGreaterThan(0.75);
    const share = reachable(trace, 48, tokens) / returns;
    expect(share).toBeGreaterThan(0.45);
    expect(share).toBeLessThan(0.6);
  });

  it('saves nothing of what never comes back, and all of it in a pool that is never full', () => {
    const trace: KnownTrace = {
      ...{ ...never, name: 'once' },
      requests: Array.from({ length: 50 }, (_, at) => requestOf(at, pieceOf(`${at}`))),
    };
    expect(reachable(trace, 24, tokens)).toBeCloseTo(0, 3);
    const chats = traceOf('conversations', { requests: 100, seed: 7 });
    const pages = 10 * chats.requests.reduce((sum, { pieces }) => sum + 10 * pieces.length, 0);
    expect(reachable(chats, pages, tokens)).toBeCloseTo(optimum(chats, pages, tokens).lower, 6);
  });

  it.each(TRACE_NAMES)('lies between every policy and the optimum in the mean of %s', (name) => {
    const sums = { optimum: 0, reachable: 0 };
    const found = new Map<string, number>();
    for (const seed of [1, 2, 3]) {
      const trace = traceOf(name, { requests: 100, seed });
      const used = [...new Set(trace.requests.flatMap(({ pieces }) => pieces))];
      const blocks = Math.ceil(used.reduce((sum, { pages }) => sum + pages, 0) / 8 / 5);
      sums.optimum += optimum(trace, 8 * blocks, tokens).upper;
      sums.reachable += reachable(trace, 8 * blocks, tokens);
      for (const [policy, create] of Object.entries(EVICTION_POLICIES)) {
        const saved = replay(trace, blocks, create(tokenCost)).found;
        found.set(policy, (found.get(policy) ?? 0) + saved.textTokens + saved.pictureTokens);
      }
    }
    // the price is that of the trace itself, which makes so short ones look a little worse
    for (const saved of found.values()) expect(saved).toBeLessThan(1.02 * sums.reachable);
    expect(sums.reachable).toBeLessThan(1.02 * sums.optimum);
  });
});
