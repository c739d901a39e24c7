import { readdirSync, readFileSync } from 'node:fs';

import { KvcError } from '@kvcapsule/contracts';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';

import { REGISTRY_KEYS, workerKeys } from './keys.js';
import { ScriptCode, throwOnCode } from './script-codes.js';
import { defineScripts } from './scripts.js';
import { RIGHTS } from './store-check.js';

const ROOT = new URL('../../', import.meta.url);
const PAGE = readFileSync(new URL('../../docs/reference/redis-keys.md', ROOT), 'utf8');
const scripts = readdirSync(new URL('lua/', ROOT)).filter((name) => name.endsWith('.lua'));

function read(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

describe('keys', () => {
  it('share the hash slot of their worker', () => {
    for (const key of Object.values(workerKeys('w-1') as unknown as Record<string, string>)) {
      expect(key).toMatch(/^kvc:v1:\{w-1\}:[a-z]+:w-1$/);
    }
  });

  it('are all on their reference page', () => {
    for (const key of [
      ...Object.values(workerKeys('ID') as unknown as Record<string, string>),
      ...Object.values(REGISTRY_KEYS),
    ]) {
      expect(PAGE).toContain(`\`${key}\``);
    }
  });

  it('are spelt in one module only', () => {
    const spelling = readdirSync(new URL('src/', ROOT), { recursive: true, encoding: 'utf8' }).filter(
      (path) => /(?<!spec)\.ts$/.test(path) && read(`src/${path}`).includes('kvc:v1'),
    );
    expect(spelling).toEqual(['redis/keys.ts']);
    expect(scripts.filter((name) => read(`lua/${name}`).includes('kvc:v1'))).toEqual([]);
  });
});

describe.each(scripts)('%s', (name) => {
  const text = read(`lua/${name}`);
  const header = text.slice(0, text.indexOf(']]'));

  it('documents as many keys as its name says, its arguments and its answers', () => {
    const keys = new Set(text.match(/KEYS\[\d\]/g));
    expect([...(header.match(/KEYS\[\d\]/g) ?? [])]).toHaveLength(Number(/-(\d)\.lua$/.exec(name)?.[1]));
    keys.forEach((key) => expect(header).toContain(key));
    text.match(/ARGV\[\d\]/g)?.forEach((argument) => expect(header).toContain(argument));
    expect(header).toMatch(/\n {2}Returns/);
  });

  it('lists every code that it or its includes return', () => {
    const includes = [...text.matchAll(/^--- @include ([a-z-]+)$/gm)].map(([, part]) =>
      read(`lua/includes/${part ?? ''}.lua`),
    );
    const body = text.slice(text.indexOf(']]')) + includes.join('');
    const swallowed = name.startsWith('release');
    for (const [, code] of swallowed ? [] : body.matchAll(/return (-\d)$/gm)) {
      expect(header).toMatch(new RegExp(`\\n +${code ?? ''} `));
    }
  });

  it('is refused at once by a store that takes no writes, unless it writes nothing', () => {
    const [flags] = text.split('\n');
    expect(flags).toMatch(/^#!lua( flags=(no-writes|allow-oom))?$/);
    expect(flags?.includes('no-writes')).toBe(/^(account|absent|lacks|leases)-/.test(name));
  });

  it('goes on at the store’s memory limit, unless it lets in a request', () => {
    expect(/^#!lua flags=/.test(text)).toBe(!name.startsWith('reserve'));
  });

  it('is on the reference page', () => {
    expect(PAGE).toContain(`\`${name}\``);
  });
});

describe('defineScripts', () => {
  it('makes each file a method of as many keys as its name says, with all that it includes', () => {
    const defined = new Map<string, { numberOfKeys: number; lua: string }>();
    const client = {
      defineCommand: (name: string, command: { numberOfKeys: number; lua: string }) =>
        defined.set(name, command),
    };
    defineScripts(client as unknown as Redis);
    expect([...defined.keys()].sort()).toEqual(
      scripts
        .map((name) => name.replace(/-\d\.lua$/, ''))
        .map((name) => `kvc${name[0]?.toUpperCase()}${name.slice(1)}`)
        .sort(),
    );
    for (const { numberOfKeys, lua } of defined.values()) {
      expect(new Set(lua.match(/KEYS\[\d\]/g)).size).toBe(numberOfKeys);
      expect(lua).not.toContain('@include');
      expect(lua).not.toContain('undefined');
    }
    for (const { lua } of defined.values()) expect(lua).toMatch(/^#!lua/);
    expect(defined.get('kvcReserve')?.lua).toContain(read('lua/includes/now-ms.lua').trim());
  });
});

describe('the user of the guide', () => {
  /** What the adapters ask for beside scripts. */
  const OWN = ['info', 'eval', 'evalsha', 'hmget', 'hgetall', 'hdel', 'set', 'type', 'xread'];

  it('may do what the scripts and the adapters do, and nothing else', () => {
    const guide = readFileSync(new URL('../../docs/guides/redis.md', ROOT), 'utf8');
    const [line = ''] = /^ACL SETUSER .*$/m.exec(guide) ?? [];
    const allowed = [...line.matchAll(/ \+([a-z|]+)/g)].map(([, command]) => command);
    const files = readdirSync(new URL('lua/', ROOT), { recursive: true, encoding: 'utf8' });
    const lua = files.filter((name) => name.endsWith('.lua')).map((name) => read(`lua/${name}`));
    const called = [...lua.join('').matchAll(/redis\.call\('([A-Z]+)'/g)].map(([, name = '']) =>
      name.toLowerCase(),
    );
    expect(allowed.sort()).toEqual([...new Set([...called, ...OWN])].sort());
    expect(allowed.sort()).toEqual(['info', ...RIGHTS].sort());
    expect(line).toContain(' ~kvc:v1:* -@all ');
  });
});

describe('throwOnCode', () => {
  it.each([
    [ScriptCode.NoWorker, 'NO_WORKER'],
    [ScriptCode.StaleEpoch, 'STALE_EPOCH'],
    [ScriptCode.NoCapacity, 'NO_CAPACITY'],
    [ScriptCode.NotCommitted, 'INTERNAL'],
    [ScriptCode.Released, 'ABORTED'],
    [ScriptCode.StaleRouter, 'STALE_ROUTER'],
    [-99, 'INTERNAL'],
  ])('turns %i into %s', (code, expected) => {
    expect(() => throwOnCode(code, 'w1')).toThrow(KvcError);
    expect(() => throwOnCode(code, 'w1')).toThrow(expect.objectContaining({ code: expected }) as Error);
  });

  it('hands results back', () => {
    expect(throwOnCode(0, 'w1')).toBe(0);
    expect(throwOnCode(1_795_613_826_227, 'w1')).toBe(1_795_613_826_227);
  });
});
