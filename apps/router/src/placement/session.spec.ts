import { DEFAULT_PRINCIPAL, type Principal } from '@kvcapsule/domain/request';
import { describe, expect, it } from 'vitest';
import type { ChatTurn, PreparedPrompt } from '../prepare/prompt-preparer.port.js';
import { sessionOf } from './session.js';

const picture = (byte: number) => ({ sha256: Buffer.alloc(32, byte) }) as PreparedPrompt['pictures'][number];
const url = { url: 'data:', param: '' };
const system: ChatTurn = { role: 'system', content: ['be brief'] };
const says = (...content: ChatTurn['content']): ChatTurn => ({ role: 'user', content });

interface Asked {
  turns?: ChatTurn[];
  pictures?: number[];
  key?: string;
  tenant?: string;
  salt?: string;
}

function session({ turns = [system, says('a')], pictures = [], key, tenant = '', salt = '' }: Asked): string {
  const principal = { ...DEFAULT_PRINCIPAL, tenant } as Principal;
  const request = { turns, principal, cacheSalt: salt, sessionKey: key };
  return sessionOf(request, { tokenIds: [], pictures: pictures.map(picture) });
}

describe('a session', () => {
  const long = 'x'.repeat(1_024);

  it.each<[string, Asked, Asked]>([
    [
      'later turns of a conversation',
      {},
      { turns: [system, says('a'), { role: 'assistant', content: ['b'] }, says('c')] },
    ],
    ['whatever is asked under one key', { key: 'k' }, { key: 'k', turns: [says('z')] }],
    ['texts whose beginnings are alike', { turns: [says(`${long}a`)] }, { turns: [says(`${long}b`)] }],
    [
      'pictures of later turns',
      { turns: [says(url)], pictures: [1] },
      { turns: [says(url), says(url)], pictures: [1, 2] },
    ],
  ])('is the same for %s', (_what, a, b) => {
    expect(session(a)).toBe(session(b));
  });

  it.each<[string, Asked, Asked]>([
    ['another question', {}, { turns: [system, says('b')] }],
    ['other instructions', {}, { turns: [says('a')] }],
    ['another picture', { turns: [says(url)], pictures: [1] }, { turns: [says(url)], pictures: [2] }],
    ['texts that are cut elsewhere', { turns: [says('ab', 'c')] }, { turns: [says('a', 'bc')] }],
    ['another key', { key: 'k' }, { key: 'l' }],
    ['a key that spells the opening', { key: 'be brief' }, {}],
    ['another tenant', {}, { tenant: 't' }],
    ['another salt', { key: 'k' }, { key: 'k', salt: 's' }],
  ])('is another for %s', (_what, a, b) => {
    expect(session(a)).not.toBe(session(b));
  });

  it('tells nothing of what it is made of', () => {
    expect(session({ key: 'secret' })).toMatch(/^[\w-]{27}$/);
  });
});
