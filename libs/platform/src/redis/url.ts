import { z } from 'zod';

const SCHEMES = ['redis:', 'rediss:'];

/** The setting that names a Redis. A URL that cannot be read is refused here, since errors of others repeat it whole. */
export const redisUrl = z.string().refine((url) => SCHEMES.includes(schemeOf(url)), {
  error: 'a URL such as redis://127.0.0.1:6379, or rediss:// for TLS',
});

function schemeOf(url: string): string {
  const parsed = URL.parse(url);
  return parsed === null || parsed.hostname === '' ? '' : parsed.protocol;
}

/** Host and port of a URL of Redis: what may be told of it, for the rest holds a password. */
export function redisAddress(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname}:${port || '6379'}`;
}
