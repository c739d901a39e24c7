import { describe, expect, it } from 'vitest';
import { BlockedAddressError, isPublicAddress, refuseLiteral, refuseResolved } from './address-guard.js';

describe('addresses', () => {
  it.each(['93.184.216.34', '8.8.8.8', '2606:2800:220:1:248:1893:25c8:1946', '::ffff:8.8.8.8'])(
    '%s is public',
    (address) => expect(isPublicAddress(address)).toBe(true),
  );

  it.each([
    '127.0.0.1',
    '127.255.255.254',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '192.0.0.8',
    '192.0.2.1',
    '198.18.0.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::7f00:1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    '2001::1',
    '2001:db8::1',
    'fe80::1',
    'fec0::1',
    'fc00::1',
    'fd00::1',
    'ff02::1',
  ])('%s is not', (address) => expect(isPublicAddress(address)).toBe(false));

  it.each([
    'http://2130706433/',
    'http://0x7f.1/',
    'http://017700000001/',
    'http://[::ffff:7f00:1]/',
    'http://0/',
  ])('%s is seen through', (url) => expect(() => refuseLiteral(new URL(url))).toThrow());

  it('leaves names to the look-up', () =>
    expect(() => refuseLiteral(new URL('http://localhost/'))).not.toThrow());
});

describe('a name that a proxy looks up', () => {
  it.each([
    'http://localhost/',
    'http://LocalHost./',
    'http://localhost../',
    'http://a.localhost/',
    'http://a.localhost.:81/',
  ])('%s is not asked for', async (url) => {
    await expect(refuseResolved(new URL(url))).rejects.toThrow(BlockedAddressError);
  });

  it('passes where it is not known here', async () => {
    await expect(refuseResolved(new URL('http://notlocalhost.invalid./'))).resolves.toBeUndefined();
  });
});
