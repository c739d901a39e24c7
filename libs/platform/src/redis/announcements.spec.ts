import { describe, expect, it } from 'vitest';

import { loadText, readMember, readStreamEntry } from './announcements.js';

const load = { state: 'ready', running: 1, waiting: 2, freePages: 90 } as const;
const said = { workerId: 'w-1.a_b', epoch: 1_795_613_826_227, load };

describe('announcements', () => {
  it('are read as they are written', () => {
    const text = loadText(load);
    expect(text).toBe('ready 1 2 90');
    expect(readStreamEntry(`freed w-1.a_b 1795613826227 ${text}`)).toEqual({
      kind: 'freed',
      announcement: said,
    });
    expect(readMember('w-1.a_b', `1795613826300 1795613826227 ${text}`)).toEqual({
      writtenMs: 1_795_613_826_300,
      announcement: said,
    });
  });

  it('tell what a pool holds where a worker says so', () => {
    const pool = {
      rawPages: 1,
      capsulePages: 2,
      cachedPages: 3,
      swappedPages: 4,
      rawBytes: 5,
      drawnTokens: 6,
    };
    const text = loadText({ ...load, pool });
    expect(text).toBe('ready 1 2 90 1 2 3 4 5 6');
    expect(readStreamEntry(`beat w 1 ${text}`)?.announcement.load).toEqual({ ...load, pool });
    const most = Number.MAX_SAFE_INTEGER;
    const full = {
      rawPages: most,
      capsulePages: most,
      cachedPages: most,
      swappedPages: most,
      rawBytes: most,
      drawnTokens: most,
    };
    const longest = loadText({
      state: 'draining',
      running: most,
      waiting: most,
      freePages: most,
      pool: full,
    });
    expect(readStreamEntry(`freed ${'w'.repeat(64)} ${most} ${longest}`)?.announcement.load.pool).toEqual(
      full,
    );
  });

  it.each(['7', 'tier=2 7', '-1 ', 'x'.repeat(400)])(
    'are read without what a newer worker appends: %j',
    (more) => {
      const pool = {
        rawPages: 1,
        capsulePages: 2,
        cachedPages: 3,
        swappedPages: 4,
        rawBytes: 5,
        drawnTokens: 6,
      };
      const text = `${loadText({ ...load, pool })} ${more}`;
      const newer = { ...said, load: { ...load, pool } };
      expect(readStreamEntry(`beat w-1.a_b 1795613826227 ${text}`)?.announcement).toEqual(newer);
      expect(readMember('w-1.a_b', `5 1795613826227 ${text}`)?.announcement).toEqual(newer);
    },
  );

  it.each([
    '',
    'beat',
    'beat w 1 ready 1 2',
    'beat w 1 ready 1 2 3 4',
    'beat w 1 ready 1 2 3 1 2 3 4 5',
    'beat w 1 ready 1 2 3 1 2 -3 4 5 6',
    'beat w 1 ready 1 2 -3',
    'beat w 1 ready 1 2 3.5',
    'beat w 1 ready 1 2 1e3',
    'beat w 1 ready 1 2 0x3',
    'beat w 1 ready 1  3',
    'beat w 1 ready 1 2 9007199254740993',
    'beat w 1 asleep 1 2 3',
    'beat w one ready 1 2 3',
    'sold w 1 ready 1 2 3',
    'beat w}:x 1 ready 1 2 3',
    'beat  1 ready 1 2 3',
    `beat ${'w'.repeat(65)} 1 ready 1 2 3`,
    `beat w 1 ready 1 2 ${' '.repeat(300)}`,
  ])('are passed over where something else stands there: %j', (text) => {
    expect(readStreamEntry(text)).toBeUndefined();
  });

  it.each(['', '5 1 ready 1 2', 'x 1 ready 1 2 3', '5 1 ready 1 2 3 4', `5 1 ready 1 2 ${'3'.repeat(200)}`])(
    'are passed over among the members too: %j',
    (text) => {
      expect(readMember('w', text)).toBeUndefined();
    },
  );

  it('are not written where nobody could read them', () => {
    expect(() => loadText({ ...load, running: NaN })).toThrow('load');
  });
});
