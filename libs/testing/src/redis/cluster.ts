import { type FailOver, failOver } from './fail-over.js';
import { freePort } from './free-port.js';
import { type Server, untilSays } from './server.js';
import { startServer, type Store } from './store.js';

const MASTERS = 3;
const SLOTS = 16_384;
const NODE_TIMEOUT_MS = 2_000;

interface Node {
  readonly server: Server;
  readonly busPort: number;
  stop(): Promise<void>;
}

/** A store whose servers have replicas. */
interface ClusterStore extends Store {
  /** Has the master of a key's slot replaced by its replica. */
  failOver(key: string, how: FailOver): Promise<void>;
}

/** Three masters with all slots among them, and a replica of each where they are asked for. */
export async function startCluster(options: { readonly replicas?: boolean } = {}): Promise<ClusterStore> {
  const count = options.replicas === true ? 2 * MASTERS : MASTERS;
  const nodes = await Promise.all(Array.from({ length: count }, startNode));
  const servers = nodes.map(({ server }) => server);
  const masters = servers.slice(0, MASTERS);
  await join(nodes, masters);
  const ids = await Promise.all(masters.map(idOf));
  const replicas = servers.slice(MASTERS);
  await Promise.all(replicas.map((replica, i) => untilSays(replica, `CLUSTER REPLICATE ${ids[i]}`, /^\+OK/)));
  await Promise.all(
    replicas.map((replica) => untilSays(replica, 'INFO replication', /master_link_status:up/)),
  );
  await Promise.all(servers.map((server) => untilSays(server, 'CLUSTER INFO', /cluster_state:ok/)));
  const url = `redis-cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  return {
    url,
    settings: { redis: url },
    servers,
    failOver: async (key, how) => {
      const master = await masterOf(masters, key);
      const ask = async ([heir]: readonly Server[]) => (await heir?.say('CLUSTER FAILOVER')) ?? '';
      await failOver({ servers, master }, how, ask);
    },
    stop: async () => void (await Promise.all(nodes.map((node) => node.stop()))),
  };
}

async function startNode(): Promise<Node> {
  const busPort = await freePort();
  const lines = [
    ...['cluster-enabled yes', 'cluster-config-file nodes.conf', `cluster-port ${busPort}`],
    ...[`cluster-node-timeout ${NODE_TIMEOUT_MS}`, 'repl-diskless-sync-delay 0'],
  ];
  const { server, stop } = await startServer({ lines });
  return { server, busPort, stop };
}

/** Deals the slots out, each master under an epoch of its own, and lets all know of each other. */
async function join(nodes: readonly Node[], masters: readonly Server[]): Promise<void> {
  const share = (part: number) => Math.floor((part * SLOTS) / masters.length);
  await Promise.all(
    masters.map(async (master, i) => {
      await master.say(`CLUSTER SET-CONFIG-EPOCH ${i + 1}`);
      await master.say(`CLUSTER ADDSLOTSRANGE ${share(i)} ${share(i + 1) - 1}`);
    }),
  );
  const [first, ...others] = nodes;
  for (const { server, busPort } of others)
    await first?.server.say(`CLUSTER MEET 127.0.0.1 ${server.port} ${busPort}`);
  const known = new RegExp(`cluster_state:ok[^]*cluster_known_nodes:${nodes.length}\\r`);
  await Promise.all(nodes.map(({ server }) => untilSays(server, 'CLUSTER INFO', known)));
}

async function idOf(server: Server): Promise<string> {
  return /[\da-f]{40}/.exec(await server.say('CLUSTER MYID'))?.[0] ?? '';
}

/** The one that does not send a key elsewhere. */
async function masterOf(masters: readonly Server[], key: string): Promise<Server> {
  for (const master of masters) if (!(await master.say(`TYPE ${key}`)).startsWith('-MOVED')) return master;
  throw new Error('no master has the slot');
}
