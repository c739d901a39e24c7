import type { SecureContextOptions } from 'node:tls';

import { KvcError } from '@kvcapsule/contracts';
import { z } from 'zod';

import { readSmallFile } from '../config/small-file.js';
import { parseRedisUrl, type RedisAddress, redisUrl } from './url.js';

/** Of a password, or of certificates: all authorities of a system are 200 kB. */
const MOST_FILE_BYTES = 4 * 1024 * 1024;

const file = (description: string) => z.string().min(1).optional().meta({ description });

/** The settings of a part that say where its store is and how it is spoken to. */
export const redisFields = {
  redis: redisUrl.meta({
    secret: true,
    description:
      'URL of Redis: redis://HOST, rediss:// (TLS), redis-sentinel://HOST,HOST/NAME, redis-cluster://HOST,HOST',
  }),
  redisPasswordFile: file('File with the password of Redis, in place of one in the URL'),
  redisCaFile: file('Authorities that Redis’ certificate may come from, PEM; those of the system by default'),
  redisCertFile: file('Certificate to show to Redis, PEM'),
  redisKeyFile: file('Key of that certificate, PEM'),
  redisServerName: z.string().min(1).optional().meta({
    description: 'Name that Redis’ certificate is made out to, where it is not the host of the URL',
  }),
  redisSentinelUsername: z
    .string()
    .min(1)
    .optional()
    .meta({ description: 'User towards Sentinels that ask for one; the URL’s is that of the servers' }),
  redisSentinelPasswordFile: file('File with the password of the Sentinels'),
};

export type RedisSettings = z.output<z.ZodObject<typeof redisFields>>;

/** What the settings name, without the rest of a part's. */
export function redisSettings(config: RedisSettings): RedisSettings {
  return z.object(redisFields).parse(config);
}

interface Fault {
  readonly path: [keyof RedisSettings];
  readonly message: string;
}

/** Settings that do not go together; each by itself has been checked. */
export function redisFault(settings: RedisSettings): Fault | undefined {
  const { redisCertFile, redisKeyFile } = settings;
  if (redisUrl.safeParse(settings.redis).error) return undefined;
  const address = parseRedisUrl(settings.redis);
  if ((redisCertFile === undefined) !== (redisKeyFile === undefined))
    return {
      path: [redisCertFile === undefined ? 'redisCertFile' : 'redisKeyFile'],
      message: 'a certificate and its key go together: --redis-cert-file and --redis-key-file',
    };
  if (settings.redisPasswordFile !== undefined && address.password !== undefined)
    return { path: ['redisPasswordFile'], message: 'the URL of Redis holds a password already' };
  return needless(settings, address);
}

const TLS = ['redisCaFile', 'redisCertFile', 'redisServerName'] as const;
const SENTINEL = ['redisSentinelUsername', 'redisSentinelPasswordFile'] as const;

/** What would be passed over in silence: whoever sets it believes in a protection that is not there. */
function needless(settings: RedisSettings, { tls, kind }: RedisAddress): Fault | undefined {
  const unused = [...(tls ? [] : TLS), ...(kind === 'sentinel' ? [] : SENTINEL)];
  const set = unused.find((field) => settings[field] !== undefined);
  if (set === undefined) return undefined;
  const of = (TLS as readonly string[]).includes(set) ? 'TLS, rediss://' : 'Sentinels, redis-sentinel://';
  return { path: [set], message: `the URL of Redis is not one of ${of}` };
}

/** Secrets and certificates, read from their files once. Throws `CONFIG_INVALID` naming the setting. */
export interface RedisSecrets {
  readonly username?: string;
  readonly password?: string;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: string;
  readonly tls?: SecureContextOptions & { servername?: string };
}

export function readSecrets(settings: RedisSettings): RedisSecrets {
  const { username, password = secret(settings, 'redisPasswordFile'), tls } = parseRedisUrl(settings.redis);
  return present({
    ...{ username, password, sentinelUsername: settings.redisSentinelUsername },
    sentinelPassword: secret(settings, 'redisSentinelPasswordFile'),
    tls: tls
      ? present({
          ca: pem(settings, 'redisCaFile'),
          cert: pem(settings, 'redisCertFile'),
          key: pem(settings, 'redisKeyFile'),
          servername: settings.redisServerName,
        })
      : undefined,
  });
}

type FileField = { [K in keyof RedisSettings]: K extends `${string}File` ? K : never }[keyof RedisSettings];

function text(settings: RedisSettings, field: NonNullable<FileField>): string | undefined {
  const path = settings[field];
  if (path === undefined) return undefined;
  try {
    return readSmallFile(path, MOST_FILE_BYTES);
  } catch (error) {
    throw unfit(field, `${path} ${(error as Error).message}`);
  }
}

/** TLS passes over authorities that are none, and takes those that Node knows in place of an empty file's. */
function pem(settings: RedisSettings, field: NonNullable<FileField>): string | undefined {
  const content = text(settings, field);
  if (content === undefined || content.includes('-----BEGIN ')) return content;
  throw unfit(field, `${settings[field]} holds no PEM`);
}

/**
 * The line break that editors leave at the end of a file is not part of a password. An empty password is as none to
 * the client, which would go on as if no file were named.
 */
function secret(settings: RedisSettings, field: NonNullable<FileField>): string | undefined {
  const password = text(settings, field)?.replace(/\r?\n$/, '');
  if (password === '') throw unfit(field, `${settings[field]} holds no password`);
  return password;
}

function unfit(field: NonNullable<FileField>, what: string): KvcError {
  const flag = field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return new KvcError('CONFIG_INVALID', `--${flag}: ${what}`);
}

/** Without fields that are undefined: libraries take those for values. */
function present<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
