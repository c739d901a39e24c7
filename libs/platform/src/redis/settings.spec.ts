import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readSecrets, redisFault, redisSettings } from './settings.js';

let folder: string;
const file = (name: string) => join(folder, name);
const pem = (name: string) => `-----BEGIN ${name.toUpperCase()}-----\n`;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvcapsule-redis-'));
  writeFileSync(file('password'), 'from a file\n');
  for (const name of ['ca', 'cert', 'key']) writeFileSync(file(name), pem(name));
  writeFileSync(file('break'), '\n');
  writeFileSync(file('empty'), '');
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe('settings of Redis', () => {
  it.each([
    [{ redis: 'rediss://h', redisCertFile: 'c' }, 'redisKeyFile', '--redis-key-file'],
    [{ redis: 'rediss://h', redisKeyFile: 'k' }, 'redisCertFile', '--redis-cert-file'],
    [{ redis: 'redis://:hunter2@h', redisPasswordFile: 'p' }, 'redisPasswordFile', 'already'],
    [{ redis: 'redis://h', redisCaFile: 'c' }, 'redisCaFile', 'rediss://'],
    [{ redis: 'redis-cluster://h', redisServerName: 'n' }, 'redisServerName', 'rediss://'],
    [
      { redis: 'redis://h', redisSentinelPasswordFile: 'p' },
      'redisSentinelPasswordFile',
      'redis-sentinel://',
    ],
    [{ redis: 'rediss://h', redisSentinelUsername: 'u' }, 'redisSentinelUsername', 'redis-sentinel://'],
  ])('that do not go together are named: %j', (settings, field, words) => {
    const fault = redisFault(settings);
    expect(fault).toMatchObject({ path: [field], message: expect.stringContaining(words) as string });
    expect(fault?.message).not.toContain('hunter2');
  });

  it.each([
    { redis: 'rediss://:w@h', redisCaFile: 'c', redisServerName: 'n' },
    { redis: 'rediss-sentinel://u@h/m', redisPasswordFile: 'p', redisSentinelPasswordFile: 's' },
    // told under its own name already
    { redis: 'nonsense', redisCaFile: 'c' },
  ])('that go together pass: %j', (settings) => {
    expect(redisFault(settings)).toBeUndefined();
  });

  it('are those of a part without its others', () => {
    const part = { redis: 'redis://h', redisPasswordFile: 'p', port: 1 };
    expect(redisSettings(part)).toEqual({ redis: 'redis://h', redisPasswordFile: 'p' });
  });
});

describe('secrets', () => {
  it('come from files, a last line break left out', () => {
    const settings = {
      ...{ redis: 'rediss-sentinel://u@h/m', redisPasswordFile: file('password') },
      ...{ redisSentinelUsername: 's', redisSentinelPasswordFile: file('password') },
      ...{ redisCaFile: file('ca'), redisCertFile: file('cert'), redisKeyFile: file('key') },
      redisServerName: 'name',
    };
    expect(readSecrets(settings)).toEqual({
      ...{ username: 'u', password: 'from a file', sentinelUsername: 's', sentinelPassword: 'from a file' },
      tls: { ca: pem('ca'), cert: pem('cert'), key: pem('key'), servername: 'name' },
    });
  });

  it('hold nothing that is not set', () => {
    expect(Object.entries(readSecrets({ redis: 'redis://h' }))).toEqual([]);
    expect(readSecrets({ redis: 'rediss://:w@h' })).toEqual({ password: 'w', tls: {} });
  });

  it('that cannot be read are named by their flag', () => {
    expect(() => readSecrets({ redis: 'redis://h', redisPasswordFile: file('none') })).toThrow(
      /^--redis-password-file: .*none cannot be read/,
    );
  });

  it.each(['empty', 'break'])('are refused where a file of a password holds none (%s)', (name) => {
    expect(() => readSecrets({ redis: 'redis://h', redisPasswordFile: file(name) })).toThrow(
      /^--redis-password-file: .* holds no password$/,
    );
    const sentinel = { redis: 'redis-sentinel://h/m', redisSentinelPasswordFile: file(name) };
    expect(() => readSecrets(sentinel)).toThrow(/^--redis-sentinel-password-file: .* holds no password$/);
  });

  it.each([
    ['redisCaFile', 'redis-ca-file'],
    ['redisCertFile', 'redis-cert-file'],
    ['redisKeyFile', 'redis-key-file'],
  ])('are refused where %s holds no PEM', (field, flag) => {
    for (const name of ['empty', 'password'])
      expect(() => readSecrets({ redis: 'rediss://h', [field]: file(name) })).toThrow(
        new RegExp(`^--${flag}: .* holds no PEM$`),
      );
  });
});
