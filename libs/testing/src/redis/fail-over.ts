import { setTimeout as sleep } from 'node:timers/promises';

import type { Server } from './server.js';

/** How the server that leads comes to lead no more. */
export type FailOver = 'asked to step down' | 'killed';

/** Ends a hang and measures nothing: an election takes seconds, on a busy machine many. */
const ELECTION_MS = 90_000;
/** One that was asked for ends without a word after 5 s when servers had no CPU meanwhile. */
const ASKED_MS = 6_000;

/** Has one of the master's replicas take its place, and waits until it does. */
export async function failOver(
  { servers, master }: { readonly servers: readonly Server[]; readonly master: Server },
  how: FailOver,
  ask: (heirs: readonly Server[]) => Promise<string>,
): Promise<void> {
  const heirs = await replicasOf(servers, master);
  if (how === 'killed') await master.kill();
  const giveUpAt = performance.now() + ELECTION_MS;
  do {
    const answer = how === 'killed' ? '+OK' : await ask(heirs);
    if (!answer.startsWith('+OK') && !(await oneLeads(heirs))) throw new Error(`a fail-over: ${answer}`);
    if (await comesToLead(heirs, how === 'killed' ? ELECTION_MS : ASKED_MS)) return;
  } while (performance.now() < giveUpAt);
  throw new Error('no replica has taken the place of its master');
}

async function replicasOf(servers: readonly Server[], { port }: Server): Promise<Server[]> {
  const follows = new RegExp(`role:slave[^]*master_port:${port}\\r`);
  const each = await Promise.all(
    servers.map(async (server) => ((await says(server, follows)) ? [server] : [])),
  );
  return each.flat();
}

async function comesToLead(heirs: readonly Server[], withinMs: number): Promise<boolean> {
  const giveUpAt = performance.now() + withinMs;
  while (!(await oneLeads(heirs))) {
    if (performance.now() > giveUpAt) return false;
    await sleep(100);
  }
  return true;
}

async function oneLeads(heirs: readonly Server[]): Promise<boolean> {
  return (await Promise.all(heirs.map((heir) => says(heir, /role:master/)))).includes(true);
}

/** Whether a server says so of itself. */
async function says(server: Server, line: RegExp): Promise<boolean> {
  return line.test(await server.say('INFO replication').catch(String));
}
