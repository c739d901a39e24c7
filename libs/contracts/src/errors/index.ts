/**
 * Every error a client, an operator or another part of the system can meet. One entry, one stable code.
 * On the OpenAI wire the code is sent in lower case, so that the codes OpenAI's own clients look for
 * (`context_length_exceeded`, `model_not_found`, `invalid_api_key`) come out as they expect.
 * `docs/reference/errors.md` lists the same entries; a test compares the two.
 */
export const ERRORS = {
  INVALID_JSON: { status: 400, type: 'invalid_request_error', help: 'Send a body that is valid JSON.' },
  INVALID_REQUEST: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Correct the field named in `param`.',
  },
  UNSUPPORTED_PARAMETER: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Leave out the field named in `param`: this server does not offer it.',
  },
  KV_CODEC_UNAVAILABLE: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Name one of the codecs that the message lists, or leave `kv_codec` out.',
  },
  REQUEST_TOO_LARGE: { status: 413, type: 'invalid_request_error', help: 'Send a smaller body.' },
  REQUEST_TIMEOUT: {
    status: 408,
    type: 'invalid_request_error',
    help: 'Send the request faster, or a smaller one.',
  },
  HEADERS_TOO_LARGE: { status: 431, type: 'invalid_request_error', help: 'Send fewer or shorter headers.' },
  EXPECTATION_FAILED: {
    status: 417,
    type: 'invalid_request_error',
    help: 'Leave the header `expect` out, or send `100-continue`.',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    type: 'invalid_request_error',
    help: 'Send `content-type: application/json`, plain or encoded as the message allows.',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    type: 'invalid_request_error',
    help: 'Use one of the methods in the header `allow`.',
  },
  NOT_FOUND: { status: 404, type: 'invalid_request_error', help: 'See /docs for the routes of this server.' },
  MODEL_NOT_FOUND: {
    status: 404,
    type: 'invalid_request_error',
    help: 'GET /v1/models lists the models that are served.',
  },
  INVALID_API_KEY: {
    status: 401,
    type: 'authentication_error',
    help: 'Send `authorization: Bearer KEY` with a key of this server.',
  },
  PERMISSION_DENIED: {
    status: 403,
    type: 'permission_error',
    help: 'Send a key of --admin-api-key: other keys may not use this route. A page of another origin: name that with --cors-origin.',
  },
  CONTEXT_LENGTH_EXCEEDED: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Shorten the messages, send fewer pictures or ask for fewer tokens.',
  },
  KV_CAPACITY_EXCEEDED: {
    status: 400,
    type: 'invalid_request_error',
    help: 'The prompt needs more KV pages than any worker has: shorten it or give workers a larger pool.',
  },
  IMAGE_INVALID: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Send a whole PNG, JPEG, WebP or GIF picture.',
  },
  IMAGE_UNSUPPORTED: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Convert the picture to PNG, JPEG, WebP or GIF.',
  },
  IMAGE_TOO_LARGE: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Send a picture of fewer bytes or fewer pixels.',
  },
  IMAGE_TOO_MANY: { status: 400, type: 'invalid_request_error', help: 'Send fewer pictures in one request.' },
  IMAGE_URL_INVALID: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Use a base64 data URI, or an http(s) URL.',
  },
  IMAGE_URL_BLOCKED: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Only public addresses are fetched; the operator may allow more with --allow-image-host.',
  },
  IMAGE_FETCH_FAILED: {
    status: 400,
    type: 'invalid_request_error',
    help: 'Make sure the URL answers with the picture, or send it as a data URI.',
  },
  RATE_LIMIT_EXCEEDED: {
    status: 429,
    type: 'rate_limit_error',
    help: 'Wait as long as `retry-after` says, then try again.',
  },
  QUEUE_FULL: {
    status: 503,
    type: 'server_error',
    help: 'Too many requests wait already: wait as long as `retry-after` says, add workers or raise --queue-size.',
  },
  NO_CAPACITY: {
    status: 503,
    type: 'server_error',
    help: 'All workers are full: wait as long as `retry-after` says, or add workers.',
  },
  NO_WORKER: {
    status: 503,
    type: 'server_error',
    help: 'No worker is ready for this model: wait, or look at the workers’ logs.',
  },
  WORKER_LOST: {
    status: 503,
    type: 'server_error',
    help: 'The worker stopped while it answered: send the request again.',
  },
  RETRIES_EXHAUSTED: {
    status: 500,
    type: 'server_error',
    help: 'Worker after worker stopped while it answered this request: see their logs before it is sent again.',
  },
  DRAINING: {
    status: 503,
    type: 'server_error',
    help: 'This process is shutting down: send the request again to another one.',
  },
  DEADLINE_EXCEEDED: {
    status: 503,
    type: 'server_error',
    help: 'The answer took longer than allowed: try again later.',
  },
  LEDGER_UNAVAILABLE: {
    status: 503,
    type: 'server_error',
    help: 'Redis does not answer: wait, or look at Redis.',
  },
  STALE_EPOCH: {
    status: 503,
    type: 'server_error',
    help: 'The worker was replaced by a newer one: send the request again.',
  },
  STALE_ROUTER: {
    status: 503,
    type: 'server_error',
    help: 'The router was taken for dead, or another one has its id: send the request again.',
  },
  ENGINE_FAILED: {
    status: 500,
    type: 'server_error',
    help: 'The engine failed on this request: see the worker’s log.',
  },
  INTERNAL: { status: 500, type: 'server_error', help: 'A fault of this server: see its log.' },
  ABORTED: { status: 499, type: 'invalid_request_error', help: 'The client went away.' },
  CLIENT_TOO_SLOW: {
    status: 499,
    type: 'invalid_request_error',
    help: 'Read the answer as it comes: one that waits for too long is cut off.',
  },
  MODEL_INVALID: {
    status: 500,
    type: 'server_error',
    help: 'Point --model at a Hugging Face folder of a supported family.',
  },
  PROFILE_INVALID: {
    status: 500,
    type: 'server_error',
    help: 'Fit the profile again with `kvcapsule calibrate`, or serve with --codec raw.',
  },
  CPU_UNSUPPORTED: {
    status: 500,
    type: 'server_error',
    help: 'Run workers on an x86-64 processor with SSE4.2, POPCNT, CLMUL and AES: any since 2010.',
  },
  CONFIG_INVALID: {
    status: 500,
    type: 'server_error',
    help: 'Correct the setting that is named; --help lists all of them.',
  },
} as const satisfies Record<string, { status: number; type: string; help: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** Whether a string that came over a wire is one of our codes. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** The one error class of the project. `message` is for people and never holds secrets or user content. */
export class KvcError extends Error {
  override readonly name = 'KvcError';

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly options: {
      /** The field at fault, as a path: `messages.0.content.1`. */
      readonly param?: string;
      /** Wait that long before trying again. */
      readonly retryAfterMs?: number;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }

  get param(): string | undefined {
    return this.options.param;
  }

  get retryAfterMs(): number | undefined {
    return this.options.retryAfterMs;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }
}

/** An error of the catalogue as it is; whatever else was thrown as the cause of one with this code and message. */
export function asKvcError(thrown: unknown, code: ErrorCode, message: string): KvcError {
  return thrown instanceof KvcError ? thrown : new KvcError(code, message, { cause: thrown });
}
