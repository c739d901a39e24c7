import { lookup as systemLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Raised where an address is not public; its text never leaves the process. */
export class BlockedAddressError extends Error {}

const GLOBAL_UNICAST_V6 = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number];

/** Whether an address belongs to the public internet; IPv4 inside IPv6 is judged as IPv4. */
export function isPublicAddress(address: string): boolean {
  const parsed = ipaddr.process(address);
  if (parsed.range() !== 'unicast') return false;
  // Also keeps out the obsolete forms that embed an IPv4 address, such as ::127.0.0.1.
  return parsed.kind() === 'ipv4' || (parsed as ipaddr.IPv6).match(GLOBAL_UNICAST_V6);
}

/** The host of a URL as an address, if it is written as one. */
function literalAddress(url: URL): string | undefined {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? undefined : host;
}

/** @throws BlockedAddressError when the host is written as an address that is not public */
export function refuseLiteral(url: URL): void {
  const address = literalAddress(url);
  if (address !== undefined && !isPublicAddress(address)) throw new BlockedAddressError();
}

/** A name as look-ups know it: a dot at its end says that it is whole, and a proxy takes it off. */
const withoutDot = (name: string) => name.replace(/\.+$/, '');

/** The names that stand for the machine that looks them up, whichever that is. */
const isLocalName = (name: string) => /(^|\.)localhost$/.test(name);

/**
 * For a fetch by way of a proxy: a name that only the proxy knows passes.
 *
 * @throws BlockedAddressError when the name is the proxy's own machine, or known here and one of its addresses is not public
 */
export async function refuseResolved(url: URL): Promise<void> {
  if (literalAddress(url) !== undefined) return;
  const name = withoutDot(url.hostname);
  if (isLocalName(name)) throw new BlockedAddressError();
  const addresses = await lookup(name, { all: true }).catch(() => []);
  if (!addresses.every(({ address }) => isPublicAddress(address))) throw new BlockedAddressError();
}

/** A look-up for sockets that fails unless every address of the name is public, so that a name cannot be re-bound. */
export const guardedLookup: LookupFunction = (hostname, options, callback) => {
  const all: LookupOptions & { all: true } = { ...options, all: true };
  systemLookup(hostname, all, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, []);
    if (!addresses.every(({ address }) => isPublicAddress(address)))
      return callback(new BlockedAddressError(), []);
    if (options.all) return callback(null, addresses);
    const [first] = addresses;
    return callback(null, first?.address ?? '', first?.family);
  });
};
