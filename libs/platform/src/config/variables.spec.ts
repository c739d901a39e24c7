import { describe, expect, it } from 'vitest';
import { unreadVariables } from './variables.js';

describe('variables that nothing reads', () => {
  it.each([
    [
      'KVCAPSULE_PROT',
      /KVCAPSULE_PROT is not read: no setting has that name; the nearest is KVCAPSULE_PORT$/,
    ],
    ['KVCAPSULE_CORS_ORIGIN', /the nearest is KVCAPSULE_CORS_ORIGINS$/],
    ['KVCAPSULE_ALLOW_IMAGE_HOST', /the nearest is KVCAPSULE_ALLOW_IMAGE_HOSTS$/],
    ['KVCAPSULE_SERVED_MODEL_NAMES', /the nearest is KVCAPSULE_SERVED_MODEL_NAME$/],
    ['KVCAPSULE_POLL_MIB', /the nearest is KVCAPSULE_POOL_MIB$/],
    ['KVCAPSULE_METRIC_PORT', /no setting has that name/],
    ['KVCAPSULE_ADON', /the nearest is KVCAPSULE_ADDON$/],
    ['KVCAPSULE_SOMETHING_ELSE', /no setting has that name$/],
    ['KVCAPSULE_API_KEY', /KVCAPSULE_API_KEY is not read here: .* the setting is KVCAPSULE_API_KEYS$/],
  ])('%s is told, without its value', (name, message) => {
    const lines = unreadVariables({ [name]: 'sekret1', PATH: '/bin', KVCAPSULE: 'x' }, ['router']);
    expect(lines).toEqual([expect.stringMatching(message)]);
    expect(lines.join()).not.toContain('sekret1');
  });

  it('are none of those that another part reads, or that are empty', () => {
    const env = { KVCAPSULE_WEIGHTS: 'f16', KVCAPSULE_RELEASE: 'a.tar.gz', KVCAPSULE_PROT: '' };
    expect(unreadVariables(env, ['router'])).toEqual([]);
    expect(unreadVariables({ KVCAPSULE_API_KEYS: 'a', KVCAPSULE_API_KEY: 'a' }, ['router'])).toEqual([]);
    expect(unreadVariables({ KVCAPSULE_API_KEY: 'a' }, ['worker'])).toEqual([]);
  });

  it('that Kubernetes sets are told once', () => {
    const service = (name: string) => ({
      [`${name}_SERVICE_HOST`]: '10.0.0.1',
      [`${name}_SERVICE_PORT`]: '80',
      [`${name}_SERVICE_PORT_HTTP`]: '80',
      [`${name}_PORT_80_TCP`]: 'tcp://10.0.0.1:80',
      [`${name}_PORT_80_TCP_PROTO`]: 'tcp',
      [`${name}_PORT_80_TCP_PORT`]: '80',
      [`${name}_PORT_80_TCP_ADDR`]: '10.0.0.1',
    });
    const router = { ...service('KVCAPSULE_ROUTER'), KVCAPSULE_ROUTER_PORT: 'tcp://10.0.0.1:80' };
    for (const [env, more] of [
      [router, 7],
      [service('KVCAPSULE'), 6],
    ] as const)
      expect(unreadVariables(env, ['worker'])).toEqual([
        expect.stringMatching(
          new RegExp(`^KVCAPSULE\\w*_SERVICE_HOST and ${more} more .*enableServiceLinks: false`),
        ),
      ]);
  });
});
