import type { TenantTerms } from '@kvcapsule/domain/admission';
import type { PolicyName, Weights } from '@kvcapsule/domain/placement';
import type { RedisSettings } from '@kvcapsule/platform/redis';
import type { TracingSettings } from '@kvcapsule/platform/tracing';

export interface ModelSettings {
  /** Id that clients send as `model`, and that answers have. */
  readonly name: string;
  /** Other ids that clients may send. */
  readonly aliases: readonly string[];
  /** Taken by requests that name no model. */
  readonly isDefault: boolean;
  /** Of its revisions, the newest first. */
  readonly folders: readonly {
    /** With the model's tokenizer, chat template and configuration. */
    readonly modelDir: string;
    /** Id that workers register with which serve it: the folder's name. */
    readonly workerModelId: string;
  }[];
}

export interface TenantSettings extends TenantTerms {
  readonly name: string;
  /** SHA-256 of each of its keys. */
  readonly keyHashes: readonly Buffer[];
}

/** What the router runs by: made from flags and environment in `config.ts`, checked there. */
export abstract class Settings {
  abstract readonly host: string;
  /** 0 takes a free one. */
  abstract readonly port: number;
  /** host:port that others are told to reach it at, where that is not the one listened on. */
  abstract readonly advertise: string | undefined;
  /** What the store knows this router by, with a number for each of several processes; made up where it is not given. */
  abstract readonly routerId: string | undefined;
  /** That share the port. */
  abstract readonly processes: number;
  abstract readonly redis: RedisSettings;
  abstract readonly models: readonly ModelSettings[];
  /** Keys of the default tenant. Without any, and without keys of others, nobody needs one. */
  abstract readonly apiKeys: readonly string[];
  /** Keys of the default tenant to which operators' routes are open, too. */
  abstract readonly adminApiKeys: readonly string[];
  /** Tenants about whom something is said; the others have plain terms. */
  abstract readonly tenants: readonly TenantSettings[];
  /** Origins whose pages may use the server from a browser; `*` for all, empty for none. */
  abstract readonly corsOrigins: readonly string[];
  /** With the web console as it was built, which browsers get at /; it may be missing. Undefined: they get none. */
  abstract readonly consoleFolder: string | undefined;
  /** Hosts whose pictures are fetched although their addresses are not public. */
  abstract readonly allowedImageHosts: readonly string[];
  abstract readonly maxBodyBytes: number;
  /** From a connection's first byte of a request to the end of its headers. */
  abstract readonly headTimeoutMs: number;
  /** From the end of the headers to the last byte of the body. */
  abstract readonly bodyTimeoutMs: number;
  abstract readonly requestTimeoutMs: number;
  /** How long a worker's engine may finish no step while it has requests, before they go elsewhere. */
  abstract readonly workerStallMs: number;
  /** How long a client may take nothing of an answer that waits for it. */
  abstract readonly stallMs: number;
  /** How long a stream may say nothing before a comment does. */
  abstract readonly keepAliveMs: number;
  /** How much of an answer may wait for a client that reads slowly. */
  abstract readonly windowBytes: number;
  abstract readonly placementPolicy: PolicyName;
  /** How much each scorer counts. */
  abstract readonly placementWeights: Weights;
  /** Requests of one model that may wait. */
  abstract readonly queueEntries: number;
  /** Bytes of prompts and pictures that may wait, over all models. */
  abstract readonly queueBytes: number;
  abstract readonly queueWaitMs: number;
  /** Names of cached content that are remembered of all workers together. */
  abstract readonly indexNames: number;
  /** Whose names of metrics are told beside ours. */
  abstract readonly metricsCompat: 'vllm' | undefined;
  /** Where spans are sent; undefined: nothing is recorded. */
  abstract readonly tracing: TracingSettings | undefined;
  /** How long streams in flight may go on after SIGTERM. */
  abstract readonly drainMs: number;
}
