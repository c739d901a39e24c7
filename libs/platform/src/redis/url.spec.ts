import { describe, expect, it } from 'vitest';
import { parseRedisUrl, redisAddress, redisUrl } from './url.js';

const usual = { kind: 'standalone', tls: false, db: 0, group: '' } as const;
const at = (...names: string[]) =>
  names.map((name) => {
    const [, host, port] = /^(.*):(\d+)$/.exec(name) ?? [];
    return { host, port: Number(port) };
  });

describe('the URL of Redis', () => {
  it.each([
    ['redis://127.0.0.1:6379', { ...usual, hosts: at('127.0.0.1:6379') }],
    ['redis://[::1]:7000/', { ...usual, hosts: at('::1:7000') }],
    ['redis://[fe80::1]', { ...usual, hosts: at('fe80::1:6379') }],
    ['redis://:p%40ss:w@my_redis', { ...usual, hosts: at('my_redis:6379'), password: 'p@ss:w' }],
    ['redis://a@b@h', { ...usual, hosts: at('h:6379'), username: 'a@b' }],
    [
      'rediss://name:word@redis.example/2',
      { ...usual, tls: true, hosts: at('redis.example:6379'), username: 'name', password: 'word', db: 2 },
    ],
    [
      'redis-sentinel://a,b:1/main.1/3',
      { ...usual, kind: 'sentinel', hosts: at('a:26379', 'b:1'), group: 'main.1', db: 3 },
    ],
    [
      'rediss-sentinel://u:w@a/m',
      {
        ...usual,
        kind: 'sentinel',
        tls: true,
        hosts: at('a:26379'),
        group: 'm',
        username: 'u',
        password: 'w',
      },
    ],
    ['redis-cluster://a,[::1]:2,c/0', { ...usual, kind: 'cluster', hosts: at('a:6379', '::1:2', 'c:6379') }],
    ['rediss-cluster://a', { ...usual, kind: 'cluster', tls: true, hosts: at('a:6379') }],
  ])('%s is read', (url, address) => {
    expect(redisUrl.parse(url)).toBe(url);
    expect(parseRedisUrl(url)).toEqual(address);
  });

  it.each([
    ['', 'redis://127.0.0.1:6379'],
    ['nonsense', 'redis://127.0.0.1:6379'],
    ['6379', 'redis://127.0.0.1:6379'],
    ['127.0.0.1:6379', 'redis://127.0.0.1:6379'],
    ['http://127.0.0.1:6379', 'redis://127.0.0.1:6379'],
    [' redis://127.0.0.1:6379', 'redis://127.0.0.1:6379'],
    ['redis://', 'redis://127.0.0.1:6379'],
    ['redis://[::1', 'redis://127.0.0.1:6379'],
    ['redis://[12]', 'redis://127.0.0.1:6379'],
    ['redis://host:0', 'redis://127.0.0.1:6379'],
    ['redis://:hunter2@host:99999', 'redis://127.0.0.1:6379'],
    ['redis://host?family=6', 'redis://127.0.0.1:6379'],
    ['redis-cluster://a,,b', 'redis://127.0.0.1:6379'],
    [`redis-cluster://${Array.from({ length: 65 }, () => 'a').join(',')}`, 'redis://127.0.0.1:6379'],
    ['redis://:hunter2@a,b', 'redis-cluster://HOST,HOST'],
    ['redis-sentinel://:hunter2@a,b', 'redis-sentinel://HOST,HOST/NAME'],
    ['redis-sentinel://a//1', 'redis-sentinel://HOST,HOST/NAME'],
    ['redis://:hunter2@a/x', 'number of a database'],
    ['redis-sentinel://a/m/1/2', 'number of a database'],
    ['redis-cluster://a/1', 'database 0 only'],
    ['redis://:hunter2%zz@a', 'percent-encoded'],
  ])('%j is refused with what would be taken, and not told', (url, words) => {
    const { error } = redisUrl.safeParse(url);
    expect(error?.issues).toMatchObject([{ message: expect.stringContaining(words) as string }]);
    expect(error?.message).not.toContain('hunter2');
    expect(() => parseRedisUrl(url)).toThrow(words);
  });

  it('is told by its hosts and ports alone', () => {
    expect(redisAddress('redis://name:hunter2@redis.example/2')).toBe('redis.example:6379');
    expect(redisAddress('redis://:hunter2@[::1]:7000')).toBe('[::1]:7000');
    expect(redisAddress('rediss-sentinel://:hunter2@a,b:1/main/2')).toBe('a:26379,b:1/main');
  });
});
