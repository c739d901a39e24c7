import type { StoreNode } from '@kvcapsule/platform/redis';
import { describe, expect, it } from 'vitest';
import { CliError } from '../failure.js';
import { group, told } from './finding.js';
import { nodeFindings } from './redis.js';
import { doctorScreen, tally } from './screen.js';

const NODE: StoreNode = {
  ...{ address: 'store:6379', version: 'Redis 7.0.15', policy: 'noeviction', isPersistent: false },
  ...{ usedBytes: 2 ** 20, maxBytes: 0, clockAheadMs: 3 },
};

const levelsOf = (node: Partial<StoreNode>) =>
  nodeFindings({ ...NODE, ...node })
    .filter(({ level }) => level !== 'ok')
    .map(({ name }) => name);

describe('what is found of a store', () => {
  it('is all well with one that has room, and one that may not be asked', () => {
    expect(levelsOf({})).toEqual([]);
    const silent = { policy: undefined, isPersistent: undefined, usedBytes: undefined, maxBytes: undefined };
    expect(levelsOf(silent)).toEqual([]);
  });

  it.each<[Partial<StoreNode>, string]>([
    [{ version: undefined }, 'version'],
    [{ maxBytes: 1.1 * 2 ** 20 }, 'memory'],
    [{ clockAheadMs: 1_500 }, 'clock'],
    [{ clockAheadMs: -1_500 }, 'clock'],
  ])('%o is to be looked at', (node, name) => {
    expect(levelsOf(node)).toEqual([name]);
  });
});

describe('the screen of doctor', () => {
  const { ok, warn, fail } = group('machine');
  const findings = [ok('Node', '24'), warn('disk', 'full', 'Free some.'), group('ports').ok('a', 'free')];

  it('has a line each by group, and what to do', () => {
    expect(doctorScreen([...findings, group('ports').fail('b', 'taken', 'Take c.')])).toBe(
      [
        'machine',
        '  ok    Node  24',
        '  warn  disk  full',
        '              → Free some.',
        '',
        'ports',
        '  ok    a     free',
        '  fail  b     taken',
        '              → Take c.',
        '',
        '2 ok, 1 to look at, 1 at fault',
        '',
      ].join('\n'),
    );
    expect(tally([...findings, fail('x', 'y')])).toEqual({ ok: 2, warn: 1, fail: 1 });
  });

  it('splits what Redis’ faults say into what is there and what to do', () => {
    expect(told(new Error('Redis at a:1 does not answer (write: no): this may not be: start it.'))).toEqual([
      'Redis at a:1 does not answer (write: no)',
      'This may not be: start it.',
    ]);
    expect(told(new CliError('It is taken.', 'Take another.'))).toEqual(['It is taken.', 'Take another.']);
    expect(told(new Error('a: b'))).toEqual(['a: b']);
  });
});
