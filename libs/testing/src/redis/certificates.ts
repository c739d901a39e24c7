import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** Paths of PEM files: an authority of its own, what it has signed for servers at 127.0.0.1, and for clients. */
export interface Certificates {
  readonly ca: string;
  readonly server: Pair;
  readonly client: Pair;
  /** As that of clients, but its time is over. */
  readonly pastClient: Pair;
  /** What a client shows and trusts. */
  readonly pem: { readonly ca: string; readonly cert: string; readonly key: string };
  remove(): void;
}

/**
 * Makes certificates with the openssl program, since Node signs none.
 *
 * @param name whom the server's are made out to, such as `IP:127.0.0.1` or `DNS:redis.example`
 */
export function makeCertificates(name = 'IP:127.0.0.1'): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-certificates-'));
  const path = (file: string) => join(folder, file);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  openssl(
    ...['req', '-x509', ...key, '-subj', '/CN=authority of a test'],
    ...['-keyout', path('ca.key'), '-out', path('ca.crt')],
  );
  const signed = (who: string, extension: string, days = 2): Pair => {
    const pair = { cert: path(`${who}.crt`), key: path(`${who}.key`) };
    openssl('req', ...key, '-subj', `/CN=${who}`, '-keyout', pair.key, '-out', path('request'));
    writeFileSync(path('extension'), extension);
    openssl(
      ...['x509', '-req', '-days', String(days), '-in', path('request'), '-extfile', path('extension')],
      ...['-CA', path('ca.crt'), '-CAkey', path('ca.key'), '-CAcreateserial', '-out', pair.cert],
    );
    return pair;
  };
  const server = signed('server', `subjectAltName=${name}`);
  const client = signed('client', 'extendedKeyUsage=clientAuth');
  const pastClient = signed('past-client', 'extendedKeyUsage=clientAuth', -1);
  const read = (file: string) => readFileSync(file, 'utf8');
  return {
    ...{ ca: path('ca.crt'), server, client, pastClient },
    pem: { ca: read(path('ca.crt')), cert: read(client.cert), key: read(client.key) },
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
