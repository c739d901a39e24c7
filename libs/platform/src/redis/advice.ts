/**
 * What to do about what Redis, its connection or something else in its place says. The first that fits; of servers
 * and libraries only the words that have stayed the same over years are looked for.
 */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /sentinel .*(NOAUTH|WRONGPASS|NOPERM)/i,
    'Sentinels ask for a user or password of their own: --redis-sentinel-username, --redis-sentinel-password-file',
  ],
  [
    /NOAUTH/,
    'it asks for a password: put it into the URL, redis://USER:PASSWORD@HOST, or into the file of --redis-password-file',
  ],
  [/WRONGPASS|invalid (username-)?password/, 'the user or the password is not the one that it knows'],
  [
    /NOPERM|ACL failure|user executing the script can't/,
    'this user may not do what is needed: docs/guides/redis.md has the ACL line that it takes',
  ],
  [/WRONGTYPE/, 'a key of ours holds what somebody else has written: remove that key'],
  [/RESP type 21\b/, 'it speaks TLS: use rediss:// in place of redis://'],
  [/RESP type 72 "H"/, 'an HTTP server answers there: name the port of Redis with --redis'],
  [/RESP type/, 'what answers there is not Redis: name another with --redis'],
  [
    /wrong version number|packet length too long|WRONG_VERSION|record layer failure/,
    'it does not speak TLS: use redis:// in place of rediss://, or the port of Redis that speaks it',
  ],
  [
    /self[- ]signed|unable to (verify|get)|issuer certificate/,
    'nobody known has signed its certificate: name the authority with --redis-ca-file',
  ],
  [/altnames/, 'its certificate is made out to another name: give that with --redis-server-name'],
  [
    /certificate required|handshake failure|bad certificate/,
    'it asks for a certificate: --redis-cert-file and --redis-key-file',
  ],
  [
    /key values mismatch/,
    'certificate and key do not belong together: see --redis-cert-file and --redis-key-file',
  ],
  [
    /PEM routines|DECODER routines|bad decrypt|asn1/i,
    'certificate or key cannot be read: --redis-cert-file and --redis-key-file take PEM without a passphrase',
  ],
  [/certificate has expired|not yet valid/, 'its certificate is out of date'],
  [
    /alert (certificate (expired|revoked|unknown)|unsupported certificate|unknown ca|access denied)/,
    'it does not take the certificate of --redis-cert-file: that is out of date, or signed by none of its authorities',
  ],
  [/cluster support disabled/, 'it is no node of a Redis Cluster: use redis:// in place of redis-cluster://'],
  [
    /unknown command.*sentinel/is,
    'it is no Sentinel: use redis://HOST, or name the Sentinels’ ports (usually 26379)',
  ],
  [
    /invalid reply: null|No such master/,
    'the Sentinels watch no servers of that name: redis-sentinel://HOST,HOST/NAME',
  ],
  [/ENOTFOUND|EAI_AGAIN/, 'that name is not known here: name another host with --redis'],
  [/DB index|invalid DB/, 'it has no database of that number: see the end of the URL'],
  [/^OOM|OOM command/, 'it is at its maxmemory: give it more'],
  [/READONLY/, 'it is a replica: name the master, or its Sentinels with redis-sentinel://HOST,HOST/NAME'],
  [/NOREPLICAS/, 'it has fewer replicas than its min-replicas-to-write'],
  [/MISCONF/, 'it cannot write its data to disk, and takes no writes until it can: see its own log'],
  [/compiling script/, 'it is older than Redis 7.0: take that, or Valkey'],
  [/LOADING/, 'it still loads its data: try again when it has'],
  [/MASTERDOWN|CLUSTERDOWN/, 'a part of it is down, or it elects another master: try again then'],
];

/** What to do about a server that says nothing at all, by whether it was spoken to over TLS. */
export function adviceOnSilence(words: string, tls: boolean): string | undefined {
  if (tls && /ETIMEDOUT|timed out|before secure TLS/.test(words))
    return 'it does not answer TLS: if it speaks none, use redis:// in place of rediss://';
  if (!tls && /ECONNRESET|EPIPE/.test(words))
    return 'it hangs up without a word: if it speaks TLS, use rediss:// in place of redis://';
  // Sentinels and nodes of a Cluster: whether they were there at all is not said
  if (!tls && /Connection is closed/.test(words))
    return 'nobody is there, or it hangs up without a word: start it there, name another with --redis, or use rediss:// if it speaks TLS';
  return undefined;
}

/** What to do, where the words are known. */
export function adviceOn(words: string): string | undefined {
  return ADVICE.find(([pattern]) => pattern.test(words))?.[1];
}
