import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { commandText, loadText, workloadText } from './describe.js';
import { addLoadFlags, addShapeFlags, apiBase, type LoadFlags, parseLoadFlags } from './options.js';

function parse(args: string, env: NodeJS.ProcessEnv = {}) {
  const command = addShapeFlags(addLoadFlags(new Command())).exitOverride();
  command.parse(args.split(' ').filter(Boolean), { from: 'user' });
  return parseLoadFlags(command.opts<LoadFlags>(), env);
}

describe('the flags of a load', () => {
  it('are an open loop of half a minute by default', () => {
    expect(parse('')).toMatchObject({
      ...{
        baseUrl: 'http://127.0.0.1:8000/v1',
        headers: {},
        extraBody: {},
        durationMs: 30_000,
        warmUpMs: 5_000,
      },
      shape: { kind: 'open', profile: { kind: 'constant', perSecond: 1 }, spacing: 'poisson' },
    });
  });

  it('end where they are told to', () => {
    expect(parse('--requests 5').durationMs).toBeUndefined();
    expect(parse('--requests 5 --duration 2m')).toMatchObject({ requests: 5, durationMs: 120_000 });
    expect(parse('--trace t.csv')).toMatchObject({ shape: { kind: 'trace' }, warmUpMs: 0 });
  });

  it('take the key from the environment, and headers', () => {
    expect(parse('--header X-A:b', { KVCAPSULE_API_KEY: 'k' }).headers).toEqual({
      authorization: 'Bearer k',
      'x-a': 'b',
    });
    expect(parse('--api-key-env OTHER', { KVCAPSULE_API_KEY: 'k', OTHER: 'o' }).headers).toEqual({
      authorization: 'Bearer o',
    });
  });

  it('take no header that HTTP cannot carry, and tell none', () => {
    const flags = new Command();
    addShapeFlags(addLoadFlags(flags)).parse([], { from: 'user' });
    for (const line of [
      'x-a: secret\nx-b: c',
      'x a: secret',
      ': secret',
      'x-a: secret\u0000',
      'x-a: secr\u2603t',
    ]) {
      const parsed = () => parseLoadFlags({ ...flags.opts<LoadFlags>(), header: [line] }, {});
      expect(parsed).toThrow('--header');
      expect(parsed).not.toThrow('secr');
    }
    expect(() => parse('', { KVCAPSULE_API_KEY: 'se\ncret' })).toThrow('KVCAPSULE_API_KEY: not a key');
    expect(parse('', { KVCAPSULE_API_KEY: 'k\n' }).headers).toEqual({ authorization: 'Bearer k' });
  });

  it('draw pictures when some are to have them', () => {
    expect(parse('--pictures 2').mix.pictures).toBeUndefined();
    expect(parse('--picture-share 0.5 --picture-size 64x32').mix.pictures).toEqual({
      ...{ share: 0.5, perRequest: 1, width: 64, height: 32, distinct: 0, zipf: 1 },
    });
  });

  it.each([
    ['--rate 0', '--rate'],
    ['--rate NaN', '--rate'],
    ['--rate 1e7', '--rate'],
    ['--concurrency 30 --processes 2 --most-open 14', '--most-open'],
    ['--header content-length:5', 'content-length'],
    ['--rate 1 --concurrency 2', '--rate and --concurrency'],
    ['--ramp 5 --duration 1s', '--ramp'],
    ['--ramp 1-5 --requests 9', '--duration'],
    ['--url ftp://x', '--url'],
    ['--duration 5', '--duration'],
    ['--body [1]', '--body'],
    ['--body {', '--body'],
    ['--header x', '--header'],
    ['--picture-size 5', '--picture-size'],
    ['--picture-share 2', '--picture-share'],
    ['--processes 0', '--processes'],
    ['--turns 1.5', '--turns'],
    ['--slo speed=1s', '--slo'],
    ['--prompt-tokens many', '--prompt-tokens'],
  ])('%s is refused by name', (args, why) => {
    expect(() => parse(args)).toThrow(why);
  });

  it('are told in words', () => {
    expect(loadText(parse('--ramp 1-50 --duration 60s'))).toBe(
      'open loop, Poisson, 1 to 50 requests/s, 60 s',
    );
    expect(loadText(parse('--concurrency 4 --requests 9'))).toBe('closed loop of 4, 9 requests');
    const options = parse('--turns 3 --think-time 2s --picture-share 0.5 --distinct-pictures 9');
    expect(workloadText(options)).toBe(
      'prompts of 128 tokens, answers of at most 64, 3 turns, 2 s between, 50 % with 1 of 9 pictures of 256 x 256 (Zipf 1)',
    );
  });
});

describe('a base URL', () => {
  it.each([
    ['http://a:1', 'http://a:1/v1'],
    ['http://a:1/', 'http://a:1/v1'],
    ['http://a:1/v1/', 'http://a:1/v1'],
    ['https://user:secret@a/api/v3?key=secret', 'https://a/api/v3'],
  ])('%s is %s', (url, base) => {
    expect(apiBase(url)).toBe(base);
  });
});

describe('the command as results tell it', () => {
  it('holds no header, no user and no query', () => {
    const args = [
      'bench',
      'serve',
      '--header',
      'x-key: secret',
      '--header=x-key:secret',
      '--url',
      'https://u:secret@h/v1?k=secret',
    ];
    const told = commandText([...args, '--body', '{"a":1}']);
    expect(told).not.toContain('secret');
    expect(told).toContain('https://h/v1');
    expect(told).toContain(`--body '{"a":1}'`);
  });
});
