import { describe, expect, it } from 'vitest';
import { redisAddress, redisUrl } from './url.js';

describe('the URL of Redis', () => {
  it.each(['redis://127.0.0.1:6379', 'rediss://name:word@redis.example/2', 'redis://[::1]:7000'])(
    '%s is taken',
    (url) => {
      expect(redisUrl.parse(url)).toBe(url);
    },
  );

  it.each([
    '',
    'nonsense',
    '6379',
    '127.0.0.1:6379',
    'http://127.0.0.1:6379',
    'redis://',
    'redis://[::1',
    'redis://:hunter2@host:99999',
  ])('%j is refused with a URL that would be taken, and not told', (url) => {
    const { error } = redisUrl.safeParse(url);
    expect(error?.issues).toMatchObject([
      { message: expect.stringContaining('redis://127.0.0.1:6379') as string },
    ]);
    expect(error?.message).not.toContain('hunter2');
  });

  it('is told by its host and port alone', () => {
    expect(redisAddress('redis://name:hunter2@redis.example/2')).toBe('redis.example:6379');
    expect(redisAddress('redis://:hunter2@[::1]:7000')).toBe('[::1]:7000');
  });
});
