import { type Runner, runProcess, type Server, untilSays } from './server.js';
import { startServer, type Store } from './store.js';

const GROUP = 'kvc';
const PASSWORD = 'of-the-servers';
const SENTINEL_PASSWORD = 'of-the-sentinels';
/** The master counts as down after one, and another is elected within about as many more. */
const DOWN_AFTER_MS = 1_000;

/** A master, two replicas and three Sentinels, each asking for a password. */
export async function startSentinels(run: Runner = runProcess): Promise<
  Store & {
    readonly master: Server;
    readonly sentinels: readonly Server[];
    readonly sentinelPassword: string;
  }
> {
  const start = (lines: readonly string[]) =>
    startServer({ password: PASSWORD, lines: [`masterauth ${PASSWORD}`, ...lines] }, run);
  const master = await start([]);
  const of = `replicaof 127.0.0.1 ${master.server.port}`;
  const replicas = await Promise.all([1, 2].map(() => start([of, 'repl-diskless-sync-delay 0'])));
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(master.server.port, run)));
  await Promise.all(
    replicas.map(({ server }) => untilSays(server, 'INFO replication', /master_link_status:up/)),
  );
  await Promise.all(
    sentinels.map(({ server }) => untilSays(server, `SENTINEL CKQUORUM ${GROUP}`, /^\+OK 3 /)),
  );
  const all = [master, ...replicas, ...sentinels];
  const hosts = sentinels.map(({ server }) => `127.0.0.1:${server.port}`).join(',');
  return {
    url: `redis-sentinel://:${PASSWORD}@${hosts}/${GROUP}`,
    master: master.server,
    sentinels: sentinels.map(({ server }) => server),
    sentinelPassword: SENTINEL_PASSWORD,
    servers: [master, ...replicas].map(({ server }) => server),
    stop: async () => void (await Promise.all(all.map((one) => one.stop()))),
  };
}

function startSentinel(masterPort: number, run: Runner): ReturnType<typeof startServer> {
  const lines = [
    `sentinel monitor ${GROUP} 127.0.0.1 ${masterPort} 2`,
    `sentinel auth-pass ${GROUP} ${PASSWORD}`,
    `sentinel down-after-milliseconds ${GROUP} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${GROUP} 3000`,
    // towards each other
    `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
  ];
  return startServer({ password: SENTINEL_PASSWORD, lines, isSentinel: true }, run);
}
