import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { type FailOver, failOver } from './fail-over.js';
import { untilSays } from './server.js';
import { startServer, type Store } from './store.js';

const GROUP = 'kvc';
const PASSWORD = 'of-the-servers';
const SENTINEL_PASSWORD = 'of-the-sentinels';
/** The master counts as down after one, and another is elected within about as many more. */
const DOWN_AFTER_MS = 1_000;

interface SentinelStore extends Store {
  /** Has the master replaced by one of its replicas. */
  failOver(how: FailOver): Promise<void>;
}

/** A master, two replicas and three Sentinels, each asking for a password. */
export async function startSentinels(): Promise<SentinelStore> {
  const start = (lines: readonly string[]) =>
    startServer({ password: PASSWORD, lines: [`masterauth ${PASSWORD}`, ...lines] });
  const master = await start([]);
  const of = `replicaof 127.0.0.1 ${master.server.port}`;
  const replicas = await Promise.all([1, 2].map(() => start([of, 'repl-diskless-sync-delay 0'])));
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(master.server.port)));
  await Promise.all(
    replicas.map(({ server }) => untilSays(server, 'INFO replication', /master_link_status:up/)),
  );
  await Promise.all(
    sentinels.map(({ server }) => untilSays(server, `SENTINEL CKQUORUM ${GROUP}`, /^\+OK 3 /)),
  );
  const all = [master, ...replicas, ...sentinels];
  const servers = [master, ...replicas].map(({ server }) => server);
  const hosts = sentinels.map(({ server }) => `127.0.0.1:${server.port}`).join(',');
  const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-sentinels-'));
  const redisSentinelPasswordFile = join(folder, 'password');
  writeFileSync(redisSentinelPasswordFile, SENTINEL_PASSWORD);
  const url = `redis-sentinel://:${PASSWORD}@${hosts}/${GROUP}`;
  const ask = async () => (await sentinels[0]?.server.say(`SENTINEL FAILOVER ${GROUP}`)) ?? '';
  return {
    url,
    settings: { redis: url, redisSentinelPasswordFile },
    servers,
    failOver: (how) => failOver({ servers, master: master.server }, how, ask),
    stop: async () => {
      await Promise.all(all.map((one) => one.stop()));
      rmSync(folder, { recursive: true });
    },
  };
}

function startSentinel(masterPort: number): ReturnType<typeof startServer> {
  const lines = [
    `sentinel monitor ${GROUP} 127.0.0.1 ${masterPort} 2`,
    `sentinel auth-pass ${GROUP} ${PASSWORD}`,
    `sentinel down-after-milliseconds ${GROUP} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${GROUP} 3000`,
    // towards each other
    `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
  ];
  return startServer({ password: SENTINEL_PASSWORD, lines, isSentinel: true });
}
