import { distance } from './distance.js';

const PREFIX = 'KVCAPSULE_';

/** What both parts have. */
const SHARED = [
  ...['CONFIG', 'REDIS', 'REDIS_PASSWORD_FILE', 'REDIS_CA_FILE', 'REDIS_CERT_FILE', 'REDIS_KEY_FILE'],
  ...['REDIS_SERVER_NAME', 'REDIS_SENTINEL_USERNAME', 'REDIS_SENTINEL_PASSWORD_FILE', 'MODEL'],
];

/** Every variable of the project by the part that reads it, without the prefix. A test of each part compares. */
export const VARIABLES = {
  router: [
    ...SHARED,
    ...[
      'HOST',
      'PORT',
      'SERVED_MODEL_NAME',
      'API_KEYS',
      'ADMIN_API_KEYS',
      'TENANTS',
      'AUTH',
      'CONSOLE',
      'CORS_ORIGINS',
      'ALLOW_IMAGE_HOSTS',
    ],
    ...[
      'MAX_BODY_MIB',
      'HEAD_TIMEOUT_MS',
      'BODY_TIMEOUT_MS',
      'REQUEST_TIMEOUT_MS',
      'WORKER_STALL_MS',
      'QUEUE_SIZE',
      'QUEUE_MIB',
      'INDEX_NAMES',
    ],
    ...['ADVERTISE', 'DRAIN_MS', 'METRICS_COMPAT', 'ROUTER_ID', 'ROUTER_PROCESSES'],
    ...['MODELS', 'PLACEMENT_POLICY', 'PLACEMENT_WEIGHTS'],
  ],
  worker: [
    ...SHARED,
    ...[
      'ID',
      'LISTEN',
      'ADVERTISE',
      'METRICS_COMPAT',
      'CODEC',
      'PROFILE',
      'WEIGHTS',
      'KV_DTYPE',
      'POOL_MIB',
      'THREADS',
    ],
    'MAX_CPU_ISA',
    ...['MAX_STEP_TOKENS', 'MAX_PREFILL_CHUNK', 'MAX_RUNNING', 'TEXT_UNDER_PRESSURE', 'SWAP_MIB'],
    'GUARANTEED_SHARE',
    ...[
      'ENCODER_CACHE_MIB',
      'MAX_IMAGE_PIXELS',
      'METRICS_HOST',
      'METRICS_PORT',
      'DRAIN_TIMEOUT_MS',
      'LOG_LEVEL',
    ],
  ],
  /**
   * The engine's file, the release that the set-up takes one from, what the entry script says of signals, the key of
   * `ask` and `eval`, and what tests read.
   */
  others: [
    'ADDON',
    'RELEASE',
    'NOHUP',
    'API_KEY',
    'URL',
    'TEST_FULL',
    'TEST_CHAOS_SECONDS',
    'TEST_CHAOS_SEED',
    'TEST_REDIS_IMAGE',
    'TEST_DOCKER',
    'SOAK_SECONDS',
    'SOAK_OUT',
    'ROLLING_OUT',
  ],
} as const;

export type Part = 'router' | 'worker';
type Environment = Readonly<Record<string, string | undefined>>;

/** A name further away is another word, not a slip of the finger. */
const MOST_SLIPS = 3;

const ALL = new Set<string>(Object.values(VARIABLES).flat());

/** Kubernetes describes each service of a namespace to each pod: `NAME_SERVICE_HOST`, `NAME_PORT_80_TCP_ADDR` and so on. */
const SERVICE_NAME = /(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;
const SERVICE_URL = /^(tcp|udp|sctp):\/\//;

/** Whether Kubernetes set the variable, since a service's name meets ours: what to do is told where it is refused. */
export const isServiceUrl = (value: string): boolean => SERVICE_URL.test(value);

export const SERVICE_LINK =
  'Kubernetes has set this variable for a service of the same name: set enableServiceLinks: false in the spec of the pod, or rename the service';

function nearest(name: string, among: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = MOST_SLIPS + 1;
  for (const other of among) {
    const slips = distance(name, other, least);
    if (slips >= least) continue;
    [best, least] = [other, slips];
  }
  return best;
}

/**
 * What of the environment looks as if it were meant for a part and is read by nothing, one line each, without values:
 * names that nobody knows, and those of another program where the part's own is one letter away and not set.
 * What Kubernetes sets for services is told in one line, since nobody typed it.
 */
export function unreadVariables(env: Environment, parts: readonly Part[]): string[] {
  const own = new Set<string>(parts.flatMap((part) => VARIABLES[part]));
  const given = Object.keys(env)
    .filter((name) => name.startsWith(PREFIX) && env[name] !== '')
    .map((name) => name.slice(PREFIX.length));
  const isOfService = (name: string) => SERVICE_NAME.test(name) || isServiceUrl(env[PREFIX + name] ?? '');
  const services = given.filter(isOfService).map((name) => PREFIX + name);
  const lines = given.flatMap((name) => (isOfService(name) ? [] : (lineOf(name, own, env) ?? [])));
  if (services.length === 0) return lines;
  const [first = '', ...more] = services;
  const others = more.length === 0 ? 'is' : `and ${more.length} more are`;
  return [
    ...lines,
    `${first} ${others} not read: they look like those that Kubernetes sets for services; enableServiceLinks: false in the spec of the pod leaves them out`,
  ];
}

function lineOf(name: string, own: ReadonlySet<string>, env: Environment): string | undefined {
  if (own.has(name)) return undefined;
  const meant = nearest(name, own);
  if (!ALL.has(name)) {
    const hint = nearest(name, [...own, ...ALL]);
    return `${PREFIX}${name} is not read: no setting has that name${hint === undefined ? '' : `; the nearest is ${PREFIX}${hint}`}`;
  }
  if (meant === undefined || env[PREFIX + meant] || distance(name, meant, 2) > 1) return undefined;
  return `${PREFIX}${name} is not read here: another program takes it; the setting is ${PREFIX}${meant}`;
}
