import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

import { parseConfig } from './index.js';

const schema = z
  .object({
    host: z.string().default('127.0.0.1').describe('Address to listen on'),
    port: z.number().int().min(0).max(65_535).default(8_000),
    apiKeys: z.array(z.string().min(8)).default([]).meta({ flag: 'api-key', secret: true }),
    noAuth: z.boolean().default(false),
    cacheImages: z.boolean().default(true),
    codec: z.enum(['raw', 'capsule']).default('capsule'),
    redisUrl: z.url().meta({ secret: true, description: 'Redis to use' }),
    profile: z.string().optional(),
    folders: z.array(z.string()).default([]).meta({ flag: 'folder', verbatim: true }),
  })
  .refine((config) => config.apiKeys.length > 0 || config.noAuth || config.host === '127.0.0.1', {
    message: 'an address other than loopback wants --api-key or --no-auth',
  });

const REDIS = ['--redis-url', 'redis://:hunter2hunter2@localhost:1'];

function parse(argv: string[], env: Record<string, string> = {}): z.output<typeof schema> {
  return parseConfig({
    schema,
    argv,
    env,
    name: 'kvcapsule-test',
    print: (text) => {
      throw new Error(text);
    },
  });
}

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvcapsule-config-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function file(text: string): string {
  const path = join(folder, 'settings.yaml');
  writeFileSync(path, text);
  return path;
}

describe('where settings come from', () => {
  it('takes defaults where nothing is said', () => {
    expect(parse(REDIS)).toEqual({
      host: '127.0.0.1',
      port: 8_000,
      apiKeys: [],
      noAuth: false,
      cacheImages: true,
      codec: 'capsule',
      redisUrl: REDIS[1],
      folders: [],
    });
  });

  it('lets flags win over the environment and the environment over the file', () => {
    const config = file('port: 1\nhost: one\ncodec: raw\nnoAuth: true\n');
    const env = { KVCAPSULE_CONFIG: config, KVCAPSULE_PORT: '2', KVCAPSULE_HOST: 'two' };
    expect(parse(REDIS.concat('--port', '3'), env)).toMatchObject({ port: 3, host: 'two', codec: 'raw' });
  });

  it('reads lists and switches', () => {
    expect(parse([...REDIS, '--api-key', 'aaaaaaaa', '--api-key', 'bbbbbbbb']).apiKeys).toEqual([
      'aaaaaaaa',
      'bbbbbbbb',
    ]);
    expect(parse(REDIS, { KVCAPSULE_API_KEYS: 'aaaaaaaa, bbbbbbbb' }).apiKeys).toEqual([
      'aaaaaaaa',
      'bbbbbbbb',
    ]);
    expect(parse([...REDIS, '--no-auth', '--no-cache-images'])).toMatchObject({
      noAuth: true,
      cacheImages: false,
    });
    expect(parse(REDIS, { KVCAPSULE_CACHE_IMAGES: 'false', KVCAPSULE_NO_AUTH: '1' })).toMatchObject({
      noAuth: true,
      cacheImages: false,
    });
  });

  it('leaves commas in entries that may hold them, and takes one entry of a file for a list', () => {
    expect(parse([...REDIS, '--folder', 'a, b', '--folder', 'c']).folders).toEqual(['a, b', 'c']);
    expect(parse(REDIS, { KVCAPSULE_FOLDERS: 'a, b' }).folders).toEqual(['a', 'b']);
    expect(parse([...REDIS, '--config', file('folders: a, b\n')]).folders).toEqual(['a, b']);
  });

  it('takes an empty variable for one not set', () => {
    expect(parse(REDIS, { KVCAPSULE_PORT: '' }).port).toBe(8_000);
  });
});

describe('what it refuses', () => {
  const refusals: [string, () => unknown, RegExp][] = [
    ['an unknown flag', () => parse([...REDIS, '--prot=sekret1']), /^--prot: unknown flag/],
    ['a stray argument', () => parse([...REDIS, 'sekret1']), /^unexpected argument/],
    ['a flag without its value', () => parse(['--redis-url']), /^--redis-url: a value is missing/],
    ['a value for a switch', () => parse([...REDIS, '--no-auth=sekret1']), /^--no-auth: /],
    [
      'an unknown key of the file',
      () => parse([...REDIS, '--config', file('prot: sekret1')]),
      /unknown key prot$/,
    ],
    [
      'a file that is no YAML',
      () => parse([...REDIS, '--config', file('a: 1\nb: [sekret1')]),
      /^\/\S+: line 2: cannot be read as YAML \(bad indent\)$/,
    ],
    [
      'a key of the file twice',
      () => parse([...REDIS, '--config', file('port: 1\nsekret1: 2\nsekret1: 3\n')]),
      /: line 3: cannot be read as YAML \(duplicate key\)$/,
    ],
    [
      'an alias in the file that stands for nothing',
      () => parse([...REDIS, '--config', file('port: *sekret1')]),
      /: cannot be read as YAML$/,
    ],
    ['a file that is no map', () => parse([...REDIS, '--config', file('- sekret1')]), /holds no map/],
    [
      'a file that is not there',
      () => parse([...REDIS, '--config', '/nowhere/x']),
      /^\/nowhere\/x: cannot be read \(ENOENT\)$/,
    ],
    ['a bad flag', () => parse([...REDIS, '--port', 'sekret1']), /^--port: /],
    ['a bad variable', () => parse(REDIS, { KVCAPSULE_PORT: 'sekret1' }), /^KVCAPSULE_PORT: /],
    ['a bad key of the file', () => parse([...REDIS, '--config', file('port: sekret1')]), /^port in .*: /],
    ['a bad secret', () => parse([...REDIS, '--api-key', 'sekret1']), /^--api-key: /],
    ['a bad switch', () => parse(REDIS, { KVCAPSULE_NO_AUTH: 'sekret1' }), /^KVCAPSULE_NO_AUTH: /],
    [
      'a variable that Kubernetes sets for a service',
      () => parse(REDIS, { KVCAPSULE_PORT: 'tcp://10.0.0.1:80' }),
      /^KVCAPSULE_PORT: Kubernetes .* enableServiceLinks: false/,
    ],
    ['a missing setting', () => parse([]), /^--redis-url or KVCAPSULE_REDIS_URL: is required$/],
    ['settings that do not go together', () => parse([...REDIS, '--host', '0.0.0.0']), /^an address other/],
  ];

  it.each(refusals)('%s, by name and without the value', (_what, run, message) => {
    try {
      run();
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(message) as string,
      });
      expect(String(error)).not.toContain('sekret1');
    }
  });

  it('names all settings at fault', () => {
    expect(() => parse(['--port', 'x', '--codec', 'y'])).toThrow(/--port: .*--codec: .*--redis-url/);
  });
});

describe('what it prints', () => {
  it('prints the settings without secrets', () => {
    const argv = [...REDIS, '--api-key', 'aaaaaaaa', '--print-config'];
    expect(() => parse(argv)).toThrow(/^host: 127\.0\.0\.1\nport: 8000\napiKeys: set, not shown\n/);
    expect(() => parse(argv)).not.toThrow(/aaaaaaaa|hunter2/);
    expect(() => parse([...REDIS, '--print-config'])).toThrow(/apiKeys: not set/);
  });

  it('prints help from the schema, whatever else is wrong', () => {
    expect(() => parse(['--help', '--port', 'x'])).toThrow(
      /Usage: kvcapsule-test[^]*--host STRING +Address to listen on \[KVCAPSULE_HOST\] \(default 127\.0\.0\.1\)/,
    );
    expect(() => parse(['-h'])).toThrow(/--no-cache-images /);
    expect(() => parse(['-h'])).toThrow(/--codec raw\|capsule/);
    expect(() => parse(['-h'])).toThrow(
      /--redis-url STRING +Redis to use \[KVCAPSULE_REDIS_URL\] \(required\)/,
    );
  });
});
