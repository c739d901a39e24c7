import { Command } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { childEnvironment } from './cluster.js';
import { type UpOptions, upOptions } from './options.js';

const options = (...args: string[]) =>
  upOptions(new Command('up'), {}).parse(args, { from: 'user' }).opts<UpOptions>();

describe('the environment of the parts', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('says how a Redis elsewhere is spoken to, and nothing of that for the private one', () => {
    vi.stubEnv('KVCAPSULE_REDIS_CA_FILE', 'ca.pem');
    vi.stubEnv('KVCAPSULE_WEIGHTS', 'f16');
    const elsewhere = childEnvironment(options('--redis', 'rediss://h'), 'rediss://h');
    expect(elsewhere).toMatchObject({ KVCAPSULE_REDIS: 'rediss://h', KVCAPSULE_REDIS_CA_FILE: 'ca.pem' });
    const own = childEnvironment(options(), 'redis://127.0.0.1:1');
    expect(own).toMatchObject({ KVCAPSULE_REDIS: 'redis://127.0.0.1:1', KVCAPSULE_WEIGHTS: 'f16' });
    expect(own).not.toHaveProperty('KVCAPSULE_REDIS_CA_FILE');
  });
});
