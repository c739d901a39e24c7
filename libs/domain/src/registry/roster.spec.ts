import { describe, expect, it } from 'vitest';

import { type Announcement, HEARTBEAT_TTL_MS, Roster, type WorkerDescriptor } from './index.js';

const descriptor = { workerId: 'w', address: 'a' } as WorkerDescriptor;
const said = (changes: { epoch?: number; freePages?: number; workerId?: string } = {}): Announcement => {
  const { workerId = 'w', epoch = 1, freePages = 9 } = changes;
  return { workerId, epoch, load: { state: 'ready', running: 0, waiting: 0, freePages } };
};

function met(heardMs = 0): Roster {
  const roster = new Roster();
  roster.meet(said(), descriptor, heardMs);
  roster.takeNews();
  return roster;
}

const nothing = { told: [], gone: [], freed: false };

describe('a roster', () => {
  it('tells of a worker once its descriptor is known, and of what changes, once', () => {
    const roster = new Roster();
    expect([roster.hear(said(), 0), roster.takeNews()]).toEqual([false, nothing]);
    roster.meet(said(), descriptor, 0);
    const record = { ...descriptor, epoch: 1, load: said().load };
    expect(roster.takeNews()).toEqual({ ...nothing, told: [record] });
    expect([roster.hear(said(), 1), roster.takeNews()]).toEqual([true, nothing]);
    for (const freePages of [8, 7]) expect(roster.hear(said({ freePages }), 2)).toBe(true);
    const { told } = roster.takeNews();
    expect(told.map(({ load }) => load.freePages)).toEqual([7]);
  });

  it('tells of what a pool holds, too, and how long a worker has been silent', () => {
    const roster = met(5);
    const pool = {
      rawPages: 1,
      capsulePages: 2,
      cachedPages: 3,
      swappedPages: 0,
      rawBytes: 9,
      drawnTokens: 7,
    };
    const says = (changes: object) =>
      roster.hear({ ...said(), load: { ...said().load, pool: { ...pool, ...changes } } }, 20);
    for (const changes of [
      {},
      { rawPages: 2 },
      { capsulePages: 1 },
      { cachedPages: 1 },
      { drawnTokens: 8 },
    ]) {
      says(changes);
      expect(roster.takeNews().told).toMatchObject([{ load: { pool: changes } }]);
    }
    says({ drawnTokens: 8 });
    expect(roster.takeNews()).toEqual(nothing);
    expect([roster.silentMs('w', 50), roster.silentMs('v', 50)]).toEqual([30, undefined]);
  });

  it('asks for the descriptor of a newer epoch, and passes an older one over', () => {
    const roster = met();
    expect(roster.hear(said({ epoch: 2 }), 0)).toBe(false);
    roster.meet(said({ epoch: 2 }), { ...descriptor, address: 'b' }, 0);
    expect(roster.takeNews().told).toMatchObject([{ epoch: 2, address: 'b' }]);
    expect(roster.hear(said({ freePages: 1 }), 0)).toBe(true);
    roster.meet(said(), descriptor, 0);
    roster.leave('w', 1);
    expect(roster.takeNews()).toEqual(nothing);
  });

  it('does not ask again for a descriptor that it could not understand', () => {
    const roster = new Roster();
    roster.meet(said(), undefined, 0);
    expect([roster.hear(said({ freePages: 3 }), 0), roster.takeNews().told]).toEqual([true, []]);
  });

  it('loses a worker whose new epoch it does not understand', () => {
    const roster = met();
    roster.meet(said({ epoch: 2 }), undefined, 0);
    expect(roster.takeNews()).toEqual({ ...nothing, gone: ['w'] });
  });

  it('loses who has left, was silent for too long, or is not among those that are there', () => {
    for (const lose of [
      (roster: Roster) => {
        roster.leave('w', 1);
      },
      (roster: Roster) => {
        roster.expire(HEARTBEAT_TTL_MS);
      },
      (roster: Roster) => {
        roster.keep(new Set(['v']));
      },
    ]) {
      const roster = met();
      lose(roster);
      expect(roster.takeNews()).toEqual({ ...nothing, gone: ['w'] });
      expect(roster.hear(said(), 0)).toBe(false);
    }
    const roster = met();
    roster.expire(HEARTBEAT_TTL_MS - 1);
    roster.leave('v', 1);
    roster.keep(new Set(['w']));
    expect(roster.takeNews()).toEqual(nothing);
  });

  it('counts silence from the last word, however late that is heard of', () => {
    const roster = met(100);
    roster.hear(said(), 50);
    roster.expire(99 + HEARTBEAT_TTL_MS);
    expect(roster.takeNews()).toEqual(nothing);
    roster.excuse(5_000);
    roster.expire(4_999 + HEARTBEAT_TTL_MS);
    expect(roster.takeNews()).toEqual(nothing);
    roster.expire(5_000 + HEARTBEAT_TTL_MS);
    expect(roster.takeNews().gone).toEqual(['w']);
  });

  it('tells that a worker which left is back, and the other way round', () => {
    const roster = met();
    roster.leave('w', 1);
    roster.meet(said(), descriptor, 0);
    expect(roster.takeNews()).toMatchObject({ told: [{ workerId: 'w' }], gone: [] });
    roster.hear(said({ freePages: 1 }), 0);
    roster.leave('w', 1);
    expect(roster.takeNews()).toEqual({ ...nothing, gone: ['w'] });
  });

  it('tells once that pages were given back', () => {
    const roster = met();
    roster.free();
    expect([roster.takeNews().freed, roster.takeNews().freed]).toEqual([true, false]);
  });
});
