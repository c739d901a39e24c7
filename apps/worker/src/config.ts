import { randomBytes } from 'node:crypto';

import { CODECS, WEIGHT_TYPES, CPU_ISAS } from '@kvcapsule/engine';
import { DEFAULT_IMAGE_POLICY } from '@kvcapsule/multimodal';
import { durationMs, listenAddress, reachableAddress } from '@kvcapsule/platform/config';
import { LOG_LEVELS } from '@kvcapsule/platform/logging';
import { redisFault, redisFields } from '@kvcapsule/platform/redis';
import { z } from 'zod';

const natural = z.number().int().min(1);
const DTYPES = ['f32', 'f16', 'bf16'] as const;

const fields = z.object({
  id: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 letters, digits, dots, dashes or underscores')
    .optional()
    .meta({
      description: 'Name in the registry, which one process at a time may have; host name and a random part',
    }),
  listen: listenAddress()
    .default('127.0.0.1:0')
    .meta({ description: 'host:port for routers; port 0 takes a free one' }),
  advertise: reachableAddress()
    .optional()
    .meta({ description: 'host:port that routers are told, where it is not the one listened on' }),
  ...redisFields,
  model: z.string().min(1).meta({ description: 'Hugging Face folder to serve' }),
  codec: z.enum(CODECS).optional().meta({
    description:
      'How KV is kept where a request names no kv_codec (q8 and q4: also that of text); the best capsule codec that there is a profile of, else raw',
  }),
  profile: z
    .array(z.string())
    .default([])
    .meta({ description: 'Profile file; those in MODEL/profiles without any' }),
  weights: z
    .enum(['auto', ...WEIGHT_TYPES])
    .default('auto')
    .meta({
      description:
        'Type of the weights in memory; auto: as most of them are stored; q8_0 and q4_1 quantize the decoder, which then answers with small errors',
    }),
  kvDtype: z.enum(DTYPES).default('f16').meta({ description: 'Type of raw keys and values' }),
  poolMib: natural.optional().meta({
    description: 'Size of the KV pool; 512, or what the whole context takes raw where that is more and fits',
  }),
  threads: z.number().int().min(0).default(0).meta({ description: 'Compute threads; 0: all CPUs' }),
  maxCpuIsa: z.enum(CPU_ISAS).optional().meta({
    description:
      'Best instruction set that kernels may use; all that the processor has. Workers share content where theirs is the same',
  }),
  maxStepTokens: natural.default(2048).meta({ description: 'Tokens computed in one step' }),
  maxPrefillChunk: natural
    .default(32)
    .meta({ description: 'Prompt tokens computed in a step beside running answers' }),
  maxRunning: natural.max(4096).default(64).meta({ description: 'Requests computed at one time' }),
  textUnderPressure: z.enum(['raw', 'q8', 'q4']).default('raw').meta({
    description:
      'What raw text of requests that named no kv_codec becomes before one is preempted; raw: it stays, and answers with it',
  }),
  swapMib: z
    .number()
    .int()
    .min(0)
    .default(256)
    .meta({ description: 'Bound of KV pages kept outside the pool while their requests wait' }),
  guaranteedShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.2)
    .describe('Share of the pool that tenants are sure of for cached content, together and in equal parts'),
  encoderCacheMib: z
    .number()
    .int()
    .min(0)
    .default(128)
    .meta({ description: 'Bound of picture features kept for pictures that come again' }),
  maxImagePixels: natural
    .default(DEFAULT_IMAGE_POLICY.maxPixels)
    .meta({ description: 'Largest picture decoded' }),
  metricsHost: z.string().default('127.0.0.1').meta({ description: 'Address of /metrics and /health' }),
  metricsPort: z
    .number()
    .int()
    .min(0)
    .max(65_535)
    .default(0)
    .meta({ description: 'Port of /metrics and /health; 0 takes a free one' }),
  metricsCompat: z.enum(['vllm']).optional().meta({
    description: 'Adds metrics under another server’s names, so that its dashboards show data: vllm',
  }),
  drainTimeoutMs: durationMs()
    .default(30_000)
    .meta({ description: 'How long running requests may go on at SIGTERM' }),
  logLevel: z.enum(LOG_LEVELS).default('info').meta({ description: 'Least severe log lines shown' }),
});

/** Addresses that no other machine can be reached at. */
const UNSPECIFIED = ['0.0.0.0', '::', '[::]'];

const hostOf = (address: string) => address.slice(0, address.lastIndexOf(':'));

/** Every setting of a worker; flags and variables are named after the fields. */
export const workerConfigSchema = fields.superRefine((config, context) => {
  const { listen, advertise } = config;
  const fault = redisFault(config);
  if (fault) context.addIssue({ code: 'custom', ...fault });
  const told = advertise ?? listen;
  if (!UNSPECIFIED.includes(hostOf(told))) return;
  const message =
    'routers cannot reach a worker at this address: name one that they can, such as --advertise HOST:PORT';
  context.addIssue({ code: 'custom', path: [advertise === undefined ? 'listen' : 'advertise'], message });
});

export type WorkerConfig = z.output<typeof workerConfigSchema>;

/** Letters of the host name that an id keeps, so that the random part fits behind it. */
const MOST_HOST_LETTERS = 51;

/**
 * An id that no other worker has, as long as 48 random bits do not meet: two hosts that both took a fixed one would
 * push each other out of the registry.
 */
export function defaultWorkerId(host: string, random: Uint8Array = randomBytes(6)): string {
  const letters = host.replaceAll(/[^A-Za-z0-9._-]/g, '-').replace(/^-+/, '');
  const name = letters.slice(0, MOST_HOST_LETTERS);
  return `${name || 'worker'}-${Buffer.from(random).toString('hex')}`;
}
