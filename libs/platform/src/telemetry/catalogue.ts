/** One metric, declared once. `docs/reference/metrics.md` lists the same entries; a test compares the two. */
export type MetricSpec =
  | {
      readonly name: string;
      readonly help: string;
      readonly type: 'counter' | 'gauge';
      readonly labels: readonly string[];
      /** What several processes of one router make of it; a sum where nothing is said. */
      readonly together?: 'max';
    }
  | {
      readonly name: string;
      readonly help: string;
      readonly type: 'histogram';
      readonly labels: readonly string[];
      /** Upper bounds, in the metric's unit. */
      readonly buckets: readonly number[];
    };

/** Whole requests: from a cached answer to a long one on two cores. */
const REQUEST_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
/** One step of the engine and what lasts about as long. */
const STEP_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** From a place that is there at once, which costs a round trip to Redis, to the longest wait. */
const QUEUE_BUCKETS = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30];
/** What takes the engine milliseconds with a small model and half a minute at real size on a few cores. */
const ENGINE_BUCKETS = STEP_BUCKETS.concat([5, 10, 30, 60, 120]);

export const METRICS = {
  router: {
    timeToFirstToken: {
      name: 'kvcapsule_router_time_to_first_token_seconds',
      help: 'From the arrival of a request to its first token',
      type: 'histogram',
      labels: [],
      buckets: REQUEST_BUCKETS,
    },
    interTokenLatency: {
      name: 'kvcapsule_router_inter_token_latency_seconds',
      help: 'Between two tokens of one request, after the first',
      type: 'histogram',
      labels: [],
      buckets: STEP_BUCKETS,
    },
    requestDuration: {
      name: 'kvcapsule_router_request_duration_seconds',
      help: 'From the arrival of a request to its last byte',
      type: 'histogram',
      labels: [],
      buckets: REQUEST_BUCKETS,
    },
    requests: {
      name: 'kvcapsule_router_requests_total',
      help: 'Requests that have ended, by HTTP status and error code (code is ok without an error)',
      type: 'counter',
      labels: ['status', 'code'],
    },
    tokens: {
      name: 'kvcapsule_router_tokens_total',
      help: 'Tokens of ended requests, by kind: prompt or completion',
      type: 'counter',
      labels: ['kind'],
    },
    failovers: {
      name: 'kvcapsule_router_failovers_total',
      help: 'Requests whose worker failed, by outcome: restarted, resumed, resumed_elsewhere (other weights or arithmetic), or given up: no_worker, over_budget, exhausted',
      type: 'counter',
      labels: ['outcome'],
    },
    resumedTokens: {
      name: 'kvcapsule_router_resumed_tokens_total',
      help: 'Tokens of answers that went on with another worker, as many as they had by then',
      type: 'counter',
      labels: [],
    },
    requestsRunning: {
      name: 'kvcapsule_router_requests_running',
      help: 'Requests that a worker has accepted and not finished',
      type: 'gauge',
      labels: [],
    },
    requestsWaiting: {
      name: 'kvcapsule_router_requests_waiting',
      help: 'Requests that have arrived and that no worker has accepted yet',
      type: 'gauge',
      labels: [],
    },
    queueRequests: {
      name: 'kvcapsule_router_queue_requests',
      help: 'Requests that wait for room on a worker, by tenant: the first 32 by name, the rest as other',
      type: 'gauge',
      labels: ['tenant'],
    },
    queueBytes: {
      name: 'kvcapsule_router_queue_bytes',
      help: 'Memory of the prompts and pictures of requests that wait for room',
      type: 'gauge',
      labels: [],
    },
    queueWait: {
      name: 'kvcapsule_router_queue_wait_seconds',
      help: 'From entering the queue to a place on a worker, by tenant',
      type: 'histogram',
      labels: ['tenant'],
      buckets: QUEUE_BUCKETS,
    },
    refusals: {
      name: 'kvcapsule_router_refusals_total',
      help: 'Requests not let in, by tenant and reason: full, shed, wait_too_long, waited, deadline, deadline_too_near, cap_requests, cap_tokens or cap_pages',
      type: 'counter',
      labels: ['tenant', 'reason'],
    },
    reservations: {
      name: 'kvcapsule_router_reservations_total',
      help: 'Pages set aside for requests, by outcome: reserved in the ledger, provisional since it did not answer, or refused_by_worker after either',
      type: 'counter',
      labels: ['outcome'],
    },
    ledgerAway: {
      name: 'kvcapsule_router_ledger_away',
      help: '1 while the ledger does not answer in time and requests go on without it, else 0',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    breakers: {
      name: 'kvcapsule_router_worker_breakers',
      help: 'Workers by the state of their circuit breaker: closed, open (left alone, since they failed requests again and again) or half-open (the next request shows how they do)',
      type: 'gauge',
      labels: ['state'],
      together: 'max',
    },
    breakerOpenings: {
      name: 'kvcapsule_router_breaker_openings_total',
      help: 'How often a worker’s circuit breaker has opened, after a probe in vain too',
      type: 'counter',
      labels: [],
    },
    placements: {
      name: 'kvcapsule_router_placements_total',
      help: 'Workers found for requests, by reason: the scorer by which one was better than the others, only or even',
      type: 'counter',
      labels: ['reason'],
    },
    imageFetch: {
      name: 'kvcapsule_router_image_fetch_seconds',
      help: 'Fetching and inspecting one picture',
      type: 'histogram',
      labels: [],
      buckets: STEP_BUCKETS.concat([5, 10]),
    },
    workers: {
      name: 'kvcapsule_router_workers',
      help: 'Workers whose heartbeat is fresh',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    registryAge: {
      name: 'kvcapsule_router_registry_age_seconds',
      help: 'Since what workers say was last read: a quarter of a second at most while Redis answers',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    registryEntries: {
      name: 'kvcapsule_router_registry_entries_total',
      help: 'Announcements of workers read, by outcome: taken, or skipped (not understood, or of no worker that is there)',
      type: 'counter',
      labels: ['outcome'],
    },
    registryGaps: {
      name: 'kvcapsule_router_registry_gaps_total',
      help: 'Times that all workers were read anew because announcements had been missed or lost',
      type: 'counter',
      labels: [],
    },
    ownersNames: {
      name: 'kvcapsule_router_owners_names',
      help: 'Blocks, pictures and features in workers’ caches that the router knows of',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    ownersPairs: {
      name: 'kvcapsule_router_owners_pairs',
      help: 'Those, each counted once for every worker that holds it',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    ownersBytes: {
      name: 'kvcapsule_router_owners_bytes',
      help: 'Memory of what the router knows of workers’ caches',
      type: 'gauge',
      labels: [],
    },
    ownersSilence: {
      name: 'kvcapsule_router_owners_silence_ms',
      help: 'Since the last word on its caches of the worker that has been silent longest; each speaks every 10 s',
      type: 'gauge',
      labels: [],
      together: 'max',
    },
    ownersGaps: {
      name: 'kvcapsule_router_owners_gaps_total',
      help: 'How often a worker told all that it holds again because the router had fallen behind',
      type: 'counter',
      labels: [],
    },
    processes: {
      name: 'kvcapsule_router_processes',
      help: 'Processes of the router whose metrics these are together',
      type: 'gauge',
      labels: [],
    },
  },
  worker: {
    leases: {
      name: 'kvcapsule_worker_leases_total',
      help: 'Leases of requests, by kind (reserved in the ledger, or provisional since it did not answer) and outcome: taken or refused',
      type: 'counter',
      labels: ['kind', 'outcome'],
    },
    requestsRunning: {
      name: 'kvcapsule_worker_requests_running',
      help: 'Requests that take part in steps',
      type: 'gauge',
      labels: [],
    },
    requestsWaiting: {
      name: 'kvcapsule_worker_requests_waiting',
      help: 'Requests accepted that wait for pages or for their turn',
      type: 'gauge',
      labels: [],
    },
    pagesFree: {
      name: 'kvcapsule_worker_pages_free',
      help: 'Pages of the pool that no request holds',
      type: 'gauge',
      labels: [],
    },
    pagesHeld: {
      name: 'kvcapsule_worker_pages_held',
      help: 'Pages of the pool that requests hold; free and held add up to the capacity',
      type: 'gauge',
      labels: [],
    },
    pagesCached: {
      name: 'kvcapsule_worker_pages_cached',
      help: 'Pages among the free ones that hold content which a request may go on from',
      type: 'gauge',
      labels: [],
    },
    prefixTokens: {
      name: 'kvcapsule_worker_prefix_cache_tokens_total',
      help: 'Prompt tokens at the first admission of their request, by outcome: hit (not computed) or miss',
      type: 'counter',
      labels: ['outcome'],
    },
    evictedPages: {
      name: 'kvcapsule_worker_evicted_pages_total',
      help: 'Pages of cached content given away; the first thing done when pages run short',
      type: 'counter',
      labels: [],
    },
    recompressions: {
      name: 'kvcapsule_worker_recompressions_total',
      help: 'Pictures of running requests, raw or as q8 or q4 rows, made into capsules because pages ran short; the second',
      type: 'counter',
      labels: [],
    },
    swaps: {
      name: 'kvcapsule_worker_swaps_total',
      help: 'Requests whose pages were moved, by direction: out (the third) or in',
      type: 'counter',
      labels: ['direction'],
    },
    textRecompressions: {
      name: 'kvcapsule_worker_text_recompressions_total',
      help: 'Runs of raw text of running requests made into q8 rows because pages ran short; the fourth, before preemptions',
      type: 'counter',
      labels: [],
    },
    kvBytes: {
      name: 'kvcapsule_worker_kv_bytes',
      help: 'Bytes of the pages that running requests hold, by the codec of what is in them',
      type: 'gauge',
      labels: ['codec'],
    },
    kvPaddingBytes: {
      name: 'kvcapsule_worker_kv_padding_bytes',
      help: 'Bytes of them that nothing was written to: rests of last pages and of last blocks, by codec',
      type: 'gauge',
      labels: ['codec'],
    },
    kvRawEquivalentBytes: {
      name: 'kvcapsule_worker_kv_raw_equivalent_bytes',
      help: 'Bytes that the same keys and values would take without any compression',
      type: 'gauge',
      labels: [],
    },
    memoryPlan: {
      name: 'kvcapsule_worker_memory_plan_bytes',
      help: 'Memory planned at start, by part: weights, pool, swap, encoder_cache, profiles, workspace, threads, pictures or runtime',
      type: 'gauge',
      labels: ['part'],
    },
    memoryLimit: {
      name: 'kvcapsule_worker_memory_limit_bytes',
      help: 'Memory of the machine, or of the process’s control group where that has less',
      type: 'gauge',
      labels: [],
    },
    compress: {
      name: 'kvcapsule_worker_compress_seconds',
      help: 'Turning one picture’s span into a capsule',
      type: 'histogram',
      labels: [],
      buckets: STEP_BUCKETS,
    },
    step: {
      name: 'kvcapsule_worker_step_seconds',
      help: 'One step of the engine over its whole batch',
      type: 'histogram',
      labels: [],
      buckets: ENGINE_BUCKETS,
    },
    encoderCacheLookups: {
      name: 'kvcapsule_worker_encoder_cache_lookups_total',
      help: 'Pictures whose features were looked for, by outcome: hit or miss',
      type: 'counter',
      labels: ['outcome'],
    },
    encoderCacheEvictions: {
      name: 'kvcapsule_worker_encoder_cache_evictions_total',
      help: 'Pictures whose features gave way to others',
      type: 'counter',
      labels: [],
    },
    encoderCacheBytes: {
      name: 'kvcapsule_worker_encoder_cache_bytes',
      help: 'Bytes of picture features kept, in use or not',
      type: 'gauge',
      labels: [],
    },
    pictureEncode: {
      name: 'kvcapsule_worker_picture_encode_seconds',
      help: 'Making one picture’s features, between the steps of running requests',
      type: 'histogram',
      labels: [],
      buckets: ENGINE_BUCKETS,
    },
    rebuildSeconds: {
      name: 'kvcapsule_worker_rebuild_seconds',
      help: 'What eviction takes content’s computing again to cost, of: prefill_token, tower_token (a picture’s, beside its prefill) or compressed_page',
      type: 'gauge',
      labels: ['of'],
    },
    preemptions: {
      name: 'kvcapsule_worker_preemptions_total',
      help: 'Requests put back to be computed again because pages ran short; the last',
      type: 'counter',
      labels: [],
    },
    recomputedTokens: {
      name: 'kvcapsule_worker_recomputed_tokens_total',
      help: 'Tokens of preempted requests that were computed again: those that the prefix cache had lost meanwhile',
      type: 'counter',
      labels: [],
    },
    tokens: {
      name: 'kvcapsule_worker_tokens_total',
      help: 'Tokens of ended requests, by kind: prompt or completion',
      type: 'counter',
      labels: ['kind'],
    },
    requestsStarted: {
      name: 'kvcapsule_worker_requests_started_total',
      help: 'Requests that have arrived; those that have not ended are running or waiting',
      type: 'counter',
      labels: [],
    },
    requests: {
      name: 'kvcapsule_worker_requests_total',
      help: 'Requests that have ended, by reason: stop, length, abort or error',
      type: 'counter',
      labels: ['reason'],
    },
  },
} as const satisfies Record<string, Record<string, MetricSpec>>;
