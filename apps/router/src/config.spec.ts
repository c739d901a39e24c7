import { resolve } from 'node:path';
import { VARIABLES, variablesOf } from '@kvcapsule/platform/config';
import { describe, expect, it } from 'vitest';
import { readSettings, routerConfigSchema } from './config.js';

const NEEDED = ['--redis', 'redis://127.0.0.1:1', '--model', 'models/demo/'];
const read = (argv: string[], env: NodeJS.ProcessEnv = {}) => readSettings([...NEEDED, ...argv], env);

describe('settings', () => {
  it('have defaults', () => {
    const defaults = {
      host: '127.0.0.1',
      port: 8_000,
      apiKeys: [],
      queueEntries: 256,
      maxBodyBytes: 64 * 1024 * 1024,
    };
    expect(read([])).toMatchObject({
      ...defaults,
      models: [{ name: 'demo', folders: [{ workerModelId: 'demo', modelDir: resolve('models/demo') }] }],
      requestTimeoutMs: 600_000,
    });
  });

  it('come from flags before the environment', () => {
    const env = {
      KVCAPSULE_PORT: '1',
      KVCAPSULE_QUEUE_SIZE: '7',
      KVCAPSULE_API_KEYS: 'key-number-1,key-number-2',
    };
    const settings = read(
      ['--port', '0', '--served-model-name', 'x', '--allow-image-host', 'a', '--allow-image-host', 'b'],
      env,
    );
    expect(settings).toMatchObject({
      port: 0,
      queueEntries: 7,
      models: [{ name: 'x', folders: [{ workerModelId: 'demo' }] }],
    });
    expect(settings.apiKeys).toEqual(['key-number-1', 'key-number-2']);
    expect(settings.allowedImageHosts).toEqual(['a', 'b']);
    expect(read(['--api-key', 'key-number-3', '--api-key', 'key-number-4'], env).apiKeys).toEqual([
      'key-number-3',
      'key-number-4',
    ]);
  });

  it('take keys of tenants for keys, and say what is wrong with their file', () => {
    expect(() => read(['--tenants', '/nowhere/tenants.json'])).toThrow(
      '/nowhere/tenants.json: cannot be read',
    );
    expect(() => read(['--host', '0.0.0.0', '--tenants', '/nowhere/x'])).toThrow('--tenants: /nowhere/x');
  });

  it('take hosts of pictures as URLs spell them, since others could match none', () => {
    const hosts = [
      'pictures.internal',
      'LocalHost:80',
      '10.0.0.1',
      '[fd00::1]:8080',
      'xn--bcher-kva.example',
    ];
    expect(read(['--allow-image-host', hosts.join(',')]).allowedImageHosts).toEqual(hosts);
    for (const host of [
      'http://a',
      'a/b',
      '*.a',
      'fd00::1',
      '[a]',
      '127.1',
      'a:65536',
      'bücher.example',
      'a b',
    ])
      expect(() => read(['--allow-image-host', host]), host).toThrow('--allow-image-host: not a host');
  });

  it('refuse to tell others an address that is none', () => {
    expect(read(['--advertise', 'router-1:8000']).advertise).toBe('router-1:8000');
    for (const address of [
      'router-1:0',
      'router-1:65536',
      'http://router-1:8000',
      'router-1',
      '[router]:8000',
    ])
      expect(() => read(['--advertise', address]), address).toThrow('--advertise: not HOST:PORT');
  });

  it('stand in the list of variables', () => {
    const listed = VARIABLES.router.map((name) => `KVCAPSULE_${name}`);
    expect([...variablesOf(routerConfigSchema), 'KVCAPSULE_CONFIG'].sort()).toEqual(listed.sort());
  });

  it('take several models, and names for them in the same order', () => {
    const other = ['--model', 'elsewhere/other, with a comma'];
    expect(read(other).models.map(({ name }) => name)).toEqual(['demo', 'other, with a comma']);
    const named = read([...other, '--served-model-name', 'a', '--served-model-name', 'b']).models;
    expect(named).toMatchObject([
      { name: 'a', folders: [{ workerModelId: 'demo' }] },
      { name: 'b', folders: [{ workerModelId: 'other, with a comma' }] },
    ]);
    const env = { KVCAPSULE_REDIS: 'redis://x', KVCAPSULE_MODEL: 'm/a, m/b' };
    expect(readSettings([], env).models.map(({ name }) => name)).toEqual(['a', 'b']);
  });

  it('tell models apart', () => {
    expect(() => read(['--model', 'elsewhere/demo'])).toThrow(
      /--model: two models have the same folder name "demo"/,
    );
    expect(() => read(['--served-model-name', 'a', '--served-model-name', 'b'])).toThrow(
      /--served-model-name: give one for each --model, or none: there are 1 models/,
    );
    const twice = ['--model', 'b', '--served-model-name', 'a', '--served-model-name', 'a'];
    expect(() => read(twice)).toThrow(/--served-model-name: the name "a" is given twice/);
  });

  it.each(['0.0.0.0', '::', '192.168.1.7', 'example.org', '127.evil.example'])(
    'refuse %s without keys, with the reason',
    (host) => {
      expect(() => read(['--host', host])).toThrow(/--host: anyone who reaches this address/);
      expect(read(['--host', host, '--no-auth']).host).toBe(host);
      expect(read(['--host', host, '--api-key', 'key-number-1']).host).toBe(host);
    },
  );

  it.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('take %s without keys', (host) => {
    expect(read(['--host', host]).host).toBe(host);
  });

  it.each(['999.1.1.1', '1.2.3', '', 'two words', 'http://x', '[::]'])(
    'refuse the host %j, whatever else is said',
    (host) => {
      for (const more of [[], ['--no-auth']])
        expect(() => read(['--host', host, ...more])).toThrow(
          /^--host: neither an address nor a name of a host$/,
        );
    },
  );

  it('ask for keys that are given, whatever else is said', () => {
    expect(read(['--no-auth', '--api-key', 'key-number-1']).apiKeys).toEqual(['key-number-1']);
  });

  it.each(['two words', 'ключ-ключ', 'tab\there', 'a'.repeat(8) + '\u00e9'])(
    'refuse a key that no client can send: %j',
    (key) => {
      expect(() => read(['--api-key', key])).toThrow(
        /--api-key: .*printable ASCII characters without blanks/,
      );
      expect(() => read([], { KVCAPSULE_API_KEYS: key })).toThrow(/KVCAPSULE_API_KEYS: .*without blanks/);
    },
  );

  it('take origins, and refuse what is none', () => {
    expect(read(['--cors-origin', '*', '--cors-origin', 'https://a.example:8']).corsOrigins).toHaveLength(2);
    for (const origin of ['a.example', 'https://a.example/', 'https://a.example/x', 'ftp://a.example'])
      expect(() => read(['--cors-origin', origin])).toThrow(/--cors-origin: not an origin/);
  });

  it('take a policy, and weights for its parts', () => {
    expect(read([])).toMatchObject({ placementPolicy: 'cost-aware', placementWeights: {} });
    const flags = ['--placement-policy', 'round-robin', '--placement-weights', 'load=2.5,last-copy=0'];
    const settings = { placementPolicy: 'round-robin', placementWeights: { load: 2.5, 'last-copy': 0 } };
    expect(read([...flags, '--placement-weights', 'prefix=1'])).toMatchObject({
      ...settings,
      placementWeights: { ...settings.placementWeights, prefix: 1 },
    });
    expect(read([], { KVCAPSULE_PLACEMENT_WEIGHTS: 'pace=3, picture=4' })).toMatchObject({
      placementWeights: { pace: 3, picture: 4 },
    });
    expect(() => read(['--placement-policy', 'best'])).toThrow(/^--placement-policy: /);
    for (const weight of ['load=-1', 'load=1e9', 'load=100000', 'load=0.1234567', 'load=much'])
      expect(() => read(['--placement-weights', weight])).toThrow(
        /^--placement-weights: a weight is a number from 0 to 99999, with at most 6 decimals$/,
      );
    expect(() => read(['--placement-weights', 'load=1,pace=1', '--placement-weights', 'load=1'])).toThrow(
      /^--placement-weights: the weight of load is given twice$/,
    );
    for (const weight of ['load', 'load=', 'lode=1', 'load=1=2', '__proto__=1'])
      expect(() => read(['--placement-weights', weight])).toThrow(/^--placement-weights: not NAME=NUMBER/);
  });

  it.each(Object.keys(routerConfigSchema.shape).filter((name) => name.endsWith('Ms')))(
    'take for %s what a timer can wait, and no more',
    (name) => {
      const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
      expect(read([flag, '2147483647'])).toMatchObject({ [name]: 2_147_483_647 });
      for (const above of ['2147483648', '4000000000', '1e300'])
        expect(() => read([flag, above])).toThrow(new RegExp(`^${flag}: .*at most 2147483647 ms`));
      expect(() => read([flag, '-1'])).toThrow(new RegExp(`^${flag}: `));
    },
  );

  it('name what is wrong without showing it', () => {
    expect(() => read(['--api-key', 'short'])).toThrow(/--api-key/);
    expect(() => read(['--api-key', 'short'])).not.toThrow(/short\b.*short/);
    expect(() => readSettings([], {})).toThrow(/KVCAPSULE_REDIS/);
    expect(() => readSettings(['--redis', 'redis://x'], {})).toThrow(
      /model.*name a model, or a file with --models/,
    );
  });
});
