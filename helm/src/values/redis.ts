import { redisUrl } from '@kvcapsule/platform/redis';
import { z } from 'zod';
import { flag, image, objectKey, objectName, podFields, quantity, section } from './parts.js';

const secretKey = (what: string) => objectKey(`Key of ${what} in the Secret; not used when empty`);

const external = section('A Redis that is there already, in place of the bundled one', {
  url: z.union([z.literal(''), redisUrl]).meta({
    description:
      'Where it is, without a password: `redis://HOST`, `rediss://` (TLS), `redis-sentinel://HOST,HOST/NAME`, `redis-cluster://HOST,HOST`; the user stands in it',
  }),
  serverName: z
    .string()
    .max(253)
    .meta({ description: 'Name that its certificate is made out to, where that is not the host' }),
  sentinelUsername: z.string().max(256).meta({ description: 'User towards Sentinels that ask for one' }),
  existingSecret: objectName('Secret with passwords and certificates; each key below is mounted as a file'),
  urlKey: secretKey('the whole URL, in place of `url`'),
  passwordKey: secretKey('the password'),
  sentinelPasswordKey: secretKey('the Sentinels’ password'),
  caKey: secretKey('the authorities that its certificate may come from, PEM'),
  certKey: secretKey('the certificate to show to it, PEM'),
  keyKey: secretKey('the key of that certificate, PEM'),
});

const persistence = section('Append-only file. Nothing needs it: workers put back what is lost', {
  enabled: flag('Keeps one on a PersistentVolumeClaim'),
  fsync: z.enum(['always', 'everysec']).meta({ description: 'When it is synced (`appendfsync`)' }),
  size: quantity('Size of the claim'),
  storageClassName: z
    .string()
    .max(253)
    .meta({ description: 'Storage class; that of the cluster by default when empty' }),
});

export const redisValues = section('Redis, where routers and workers meet', {
  bundled: section('One Redis of the chart’s own, with `maxmemory-policy noeviction`', {
    enabled: flag('Runs it; `external.url` is needed otherwise'),
    image: image('Redis (7.0 or newer) or Valkey'),
    existingSecret: objectName('Secret with its password; none is asked for when empty'),
    passwordKey: objectKey('Key of the password in the Secret'),
    maxMemory: z
      .string()
      .regex(/^[1-9][0-9]{0,8}(kb|mb|gb)$/)
      .meta({ description: 'Bound of its memory (`maxmemory`), below that of its container' }),
    persistence,
    ...podFields,
  }),
  external,
});
