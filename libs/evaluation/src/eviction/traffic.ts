import { Draws, randomOf } from './random.js';
import { type Part, PieceNames, type Trace, type TraceRequest } from './trace.js';

/** Something that comes at a time, in seconds. */
interface Arrival {
  readonly at: number;
  readonly tenant: string;
  readonly prompt: readonly Part[];
  readonly answer: readonly Part[];
}

export interface TraceOptions {
  readonly requests: number;
  readonly seed: number;
}

const text = (id: string, tokens: number): Part => ({ kind: 'text', id, tokens });
const picture = (id: string): Part => ({ kind: 'picture', id });

/** How one kind of conversation goes. */
interface Conversations {
  readonly prefix: string;
  readonly tenant: () => string;
  /** Seconds between two of them. */
  readonly everySeconds: number;
  /** Chance that there is another turn after one. */
  readonly goesOn: (turn: number) => number;
  readonly pictures: () => string[];
  readonly systemTokens: number;
}

function conversations(draws: Draws, kind: Conversations, count: number): Arrival[] {
  const arrivals: Arrival[] = [];
  let begins = 0;
  for (let index = 0; arrivals.length < count; index += 1) {
    begins += draws.exponential(kind.everySeconds);
    const tenant = kind.tenant();
    const id = `${kind.prefix}${index}`;
    let history: Part[] = [text(`system ${tenant}`, kind.systemTokens), ...kind.pictures().map(picture)];
    let at = begins;
    for (let turn = 0; ; turn += 1) {
      const prompt = [...history, text(`${id} asks ${turn}`, draws.spread(96, 0.7))];
      const answer = [text(`${id} hears ${turn}`, draws.spread(192, 0.7))];
      arrivals.push({ at, tenant, prompt, answer });
      if (!draws.chance(kind.goesOn(turn))) break;
      history = [...prompt, ...answer];
      // one question in four of those that follow comes with a picture of its own
      if (draws.chance(0.25)) history.push(picture(`${id} shows ${turn}`));
      at += draws.spread(45, 0.9);
    }
  }
  return arrivals;
}

/** Half of those who ask once ask again, and those who have go on with four in five. */
const goesOn = (turn: number) => (turn === 0 ? 0.5 : 0.8);

function chats(draws: Draws, count: number): Arrival[] {
  let shown = 0;
  const pictures = () => Array.from({ length: draws.whole(0, 3) }, () => `own ${shown++}`);
  const kind = { prefix: 'c', tenant: () => 'one', everySeconds: 5, goesOn, pictures, systemTokens: 512 };
  return conversations(draws, kind, count);
}

/** Questions about pictures of a catalogue, some hot; what is hot changes slowly. */
function catalogue(draws: Draws, count: number): Arrival[] {
  const rank = draws.zipf(1_200, 0.9);
  let asked = 0;
  const pictures = () => [`catalogue ${(rank() + Math.floor(asked++ / 200)) % 1_200}`];
  const kind = { prefix: 'p', tenant: () => 'one', everySeconds: 2, pictures, systemTokens: 256 };
  return conversations(draws, { ...kind, goesOn: () => 0.15 }, count);
}

/** Many tenants of very different size; the largest asks each thing once. */
function tenants(draws: Draws, count: number): Arrival[] {
  const rank = draws.zipf(40, 1);
  let shown = 0;
  const pictures = () => Array.from({ length: draws.whole(0, 2) }, () => `own ${shown++}`);
  const common = { everySeconds: 6, pictures, systemTokens: 1_024 };
  const chat = { ...common, prefix: 't', tenant: () => `tenant ${rank()}`, goesOn };
  const flood = { ...common, prefix: 'f', tenant: () => 'flood', everySeconds: 2.5, goesOn: () => 0 };
  const half = Math.ceil(count / 2);
  return merge([conversations(draws, chat, half), conversations(draws, flood, half)]);
}

function mixed(draws: Draws, count: number): Arrival[] {
  const third = Math.ceil(count / 3);
  return merge([chats(draws, third), catalogue(draws, third), tenants(draws, third)]);
}

/** As long as all of them go on. */
function merge(kinds: readonly Arrival[][]): Arrival[] {
  const end = Math.min(...kinds.map((arrivals) => Math.max(...arrivals.map(({ at }) => at))));
  return kinds.flat().filter(({ at }) => at <= end);
}

const TRAFFIC = { conversations: chats, pictures: catalogue, tenants, mixed } as const;

export type TraceName = keyof typeof TRAFFIC;
export const TRACE_NAMES = Object.keys(TRAFFIC) as TraceName[];

/** The same trace for the same seed. */
export function traceOf(name: TraceName, { requests, seed }: TraceOptions): Trace {
  const draws = new Draws(randomOf(seed));
  const names = new PieceNames();
  const arrivals = TRAFFIC[name](draws, Math.ceil(requests * 1.3)).sort((a, b) => a.at - b.at);
  return {
    name,
    requests: arrivals.slice(0, requests).map(({ tenant, prompt, answer }): TraceRequest => {
      const pieces = names.chain(tenant, [...prompt, ...answer]);
      return { tenant, pieces, promptPieces: names.chain(tenant, prompt).length };
    }),
  };
}
