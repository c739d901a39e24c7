import { isIP } from 'node:net';
import { z } from 'zod';

const MOST_PORT = 65_535;

/** An address, or a name; four numbers with dots between are a name to nobody. */
export const isHost = (host: string): boolean =>
  isIP(host) !== 0 || (/^[\w.-]{1,253}$/.test(host) && !/^[\d.]+$/.test(host));

/** IPv6 with its brackets or without. */
function isHostPort(text: string, leastPort: 0 | 1): boolean {
  const [, bracketed, plain = '', port] = /^(?:\[([^\]]*)\]|(.+)):(\d{1,5})$/.exec(text) ?? [];
  if (Number(port) < leastPort || !(Number(port) <= MOST_PORT)) return false;
  return bracketed === undefined ? isHost(plain) : isIP(bracketed) === 6;
}

/** Where a server listens, as `127.0.0.1:7001`; port 0 takes a free one. */
export const listenAddress = () =>
  z
    .string()
    .refine(
      (text) => isHostPort(text, 0),
      'not HOST:PORT, a host and a port up to 65535, such as [::1]:7001',
    );

/** Where others reach a server, as `worker-1:7001`: no URL, and no port that is still to be chosen. */
export const reachableAddress = () =>
  z
    .string()
    .refine(
      (text) => isHostPort(text, 1),
      'not HOST:PORT, a host and a port from 1 to 65535, such as host-1:7001',
    );

const URL_HOST = /^([\w.-]+|\[[\dA-Fa-f:.]+\])(:\d{1,5})?$/;
const NO_URL_HOST = 'not a host as URLs spell it, with or without a port, such as example.org or [::1]:8080';

/** Whether a URL keeps it as it is: `127.1` becomes another one, which it would never be equal to. */
function isKept(text: string): boolean {
  const host = URL_HOST.exec(text)?.[1]?.toLowerCase();
  return URL.canParse(`http://${text}`) && new URL(`http://${text}`).hostname === host;
}

/** A host, with a port or for all of them, that hosts of URLs are compared with. */
export const urlHost = () => z.string().regex(URL_HOST, NO_URL_HOST).refine(isKept, NO_URL_HOST);
