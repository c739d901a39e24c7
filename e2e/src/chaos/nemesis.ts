import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ShiftedClock } from '@kvcapsule/testing/clock';
import type { FaultProxy } from '@kvcapsule/testing/network';
import type { SeededRandom } from '@kvcapsule/testing/scenes';
import { hasEnded } from '../harness.js';
import { bounce, type Ground, type Node } from './ground.js';

/** What may go wrong. Each resolves when it is mended, or says which promise it saw broken. */
interface Fault {
  readonly name: string;
  /** How often, beside the others. */
  readonly weight: number;
  run(strike: Strike): Promise<string | undefined | void>;
}

/** One occasion. */
interface Strike {
  readonly ground: Ground;
  /** Whom it hits, of each kind. */
  readonly worker: Node;
  readonly router: Node;
  readonly random: SeededRandom;
  /** The store is about to lose what it holds, or has lost it: a worker may register before that is over. */
  readonly empties: (when: 'emptying' | 'emptied') => void;
}

const between = ({ random }: Strike, leastMs: number, mostMs: number): number =>
  random.integer(leastMs, mostMs);

async function still({ part: { process } }: Node, ms: number): Promise<void> {
  process.kill('SIGSTOP');
  await sleep(ms);
  process.kill('SIGCONT');
}

/** Breaks a way in one of the ways that there are, and mends it. */
async function broken(way: FaultProxy | undefined, strike: Strike): Promise<void> {
  way?.set(strike.random.pick(['silent', 'refusing', 'slow'] as const), 2_000);
  await sleep(between(strike, 500, 6_000));
  way?.set('passing');
}

/** Lets a clock jump by up to ten minutes to either side, and back. */
async function jump(clock: ShiftedClock, strike: Strike): Promise<void> {
  clock.shift(between(strike, -600_000, 600_000));
  await sleep(between(strike, 200, 8_000));
  clock.shift(0);
}

const FAULTS: readonly Fault[] = [
  { name: 'kill worker', weight: 4, run: (strike) => bounce(strike.worker, between(strike, 0, 2_000)) },
  { name: 'stop worker', weight: 3, run: (strike) => still(strike.worker, between(strike, 200, 9_000)) },
  {
    name: 'replace worker',
    weight: 2,
    run: async (strike) => {
      const left = await strike.ground.replace(strike.worker, between(strike, 0, 3_000));
      return left ? undefined : `${strike.worker.name}: a process that was replaced goes on`;
    },
  },
  { name: 'kill router', weight: 2, run: (strike) => bounce(strike.router, between(strike, 0, 1_000)) },
  { name: 'stop router', weight: 1, run: (strike) => still(strike.router, between(strike, 200, 5_000)) },
  { name: 'part worker from routers', weight: 3, run: (strike) => broken(strike.worker.inbound, strike) },
  { name: 'part worker from store', weight: 3, run: (strike) => broken(strike.worker.store, strike) },
  { name: 'part router from store', weight: 3, run: (strike) => broken(strike.router.store, strike) },
  {
    name: 'stop store',
    weight: 2,
    run: async (strike) => {
      const [server] = strike.ground.store.servers;
      await server?.pause();
      await sleep(between(strike, 200, 5_000));
      await server?.resume();
    },
  },
  {
    name: 'lose store',
    weight: 2,
    run: async (strike) => {
      strike.empties('emptying');
      await strike.ground.loseStore();
      strike.empties('emptied');
    },
  },
  {
    name: 'empty store',
    weight: 1,
    run: async (strike) => {
      strike.empties('emptying');
      await say(strike, 'FLUSHALL');
      strike.empties('emptied');
    },
  },
  { name: 'jump worker clock', weight: 1, run: (strike) => jump(strike.worker.clock, strike) },
  { name: 'jump router clock', weight: 1, run: (strike) => jump(strike.router.clock, strike) },
  { name: 'jump store clock', weight: 2, run: (strike) => jump(strike.ground.storeClock, strike) },
  { name: 'forget scripts', weight: 1, run: (strike) => say(strike, 'SCRIPT FLUSH') },
  { name: 'drop connections', weight: 1, run: (strike) => say(strike, 'CLIENT KILL TYPE normal') },
];

async function say({ ground }: Strike, command: string): Promise<void> {
  await ground.store.servers[0]?.say(command).catch(() => undefined);
}

/**
 * Lets faults strike one after the other, now and then two at a time, until that time of `performance.now()`: each of
 * them once, in any order, then as often as their weights say.
 */
export async function strikeUntil(
  ground: Ground,
  random: SeededRandom,
  tell: (what: string) => void,
  empties: Strike['empties'],
  untilMs: number,
): Promise<string[]> {
  const broken: string[] = [];
  const busy = new Set<Node | Ground>();
  const first = random.sample(FAULTS, FAULTS.length);
  const lane = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      await sleep(random.integer(500, 3_000));
      const isFirst = first.length > 0;
      const fault = first.shift() ?? weighted(random);
      const strike: Strike = {
        ...{ ground, random, empties },
        worker: random.pick(ground.workers),
        router: random.pick(ground.routers),
      };
      const fallen = [...ground.workers, ...ground.routers].find(
        (node) => !busy.has(node) && hasEnded(node.part.process),
      );
      if (fallen) {
        broken.push(endOf(fallen));
        busy.add(fallen);
        await fallen.start();
        busy.delete(fallen);
      }
      const target = targetOf(fault, strike);
      // a process is hit by one fault at a time, since one mends what the other still needs broken
      if (busy.has(target)) {
        if (isFirst) first.push(fault);
        continue;
      }
      busy.add(target);
      tell(`${fault.name} (${target === ground ? 'store' : (target as Node).name})`);
      const violation = await fault.run(strike);
      if (violation) broken.push(violation);
      busy.delete(target);
    }
  };
  await Promise.all([lane(), lane()]);
  return broken;
}

/** Says how a process has ended that nobody has ended. */
function endOf({ name, part: { process, logFile } }: Node): string {
  const how = process.signalCode ?? `code ${process.exitCode}`;
  return `${name} has ended by itself, with ${how}: ${readFileSync(logFile, 'utf8').slice(-1_000)}`;
}

function targetOf({ name }: Fault, { ground, worker, router }: Strike): Node | Ground {
  if (/ worker/.test(name)) return worker;
  return / router/.test(name) ? router : ground;
}

function weighted(random: SeededRandom): Fault {
  let at = random.next() * FAULTS.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of FAULTS) {
    at -= fault.weight;
    if (at < 0) return fault;
  }
  return FAULTS[0] as Fault;
}
