import { Draws, randomOf, spreadWithin, zipfChance } from './random.js';
import { type KnownRequest, type KnownTrace, type Part, PieceNames } from './trace.js';

/** Something that comes at a time, in seconds. */
interface Arrival {
  readonly at: number;
  readonly conversation: string;
  readonly goesOn: number;
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

/** Seconds between two turns: a log-normal's median and sigma. */
const GAP = { seconds: 45, sigma: 0.9 };

/** Chance of a shared part to be used by a conversation of its kind that begins at a time. */
type Chance = (part: string, at: number) => number;

/** What begins, and how often. */
interface Beginning {
  readonly everySeconds: number;
  readonly chance: Chance;
}

interface Traffic {
  readonly arrivals: Arrival[];
  readonly begins: readonly Beginning[];
}

/** How one kind of conversation goes. */
interface Conversations {
  readonly prefix: string;
  readonly tenant: () => string;
  /** Seconds between two of them. */
  readonly everySeconds: number;
  /** Chance that there is another turn after one. */
  readonly goesOn: (turn: number) => number;
  readonly pictures: () => Part[];
  readonly systemTokens: number;
}

function conversations(draws: Draws, kind: Conversations, count: number): Arrival[] {
  const arrivals: Arrival[] = [];
  let begins = 0;
  for (let index = 0; arrivals.length < count; index += 1) {
    begins += draws.exponential(kind.everySeconds);
    const tenant = kind.tenant();
    const id = `${kind.prefix}${index}`;
    const system: Part = { ...text(systemOf(tenant), kind.systemTokens), shared: true };
    let history: Part[] = [system, ...kind.pictures()];
    let at = begins;
    for (let turn = 0; ; turn += 1) {
      const prompt = [...history, text(`${id} asks ${turn}`, draws.spread(96, 0.7))];
      const answer = [text(`${id} hears ${turn}`, draws.spread(192, 0.7))];
      const goesOn = kind.goesOn(turn);
      arrivals.push({ at, conversation: id, goesOn, tenant, prompt, answer });
      if (!draws.chance(goesOn)) break;
      history = [...prompt, ...answer];
      // one question in four of those that follow comes with a picture of its own
      if (draws.chance(0.25)) history.push(picture(`${id} shows ${turn}`));
      at += draws.spread(GAP.seconds, GAP.sigma);
    }
  }
  return arrivals;
}

/** Half of those who ask once ask again, and those who have go on with four in five. */
const goesOn = (turn: number) => (turn === 0 ? 0.5 : 0.8);

const systemOf = (tenant: string) => `system ${tenant}`;
/** A beginning that all conversations of one tenant have. */
const always =
  (part: string): Chance =>
  (other) =>
    Number(other === part);

function chats(draws: Draws, count: number): Traffic {
  let shown = 0;
  const pictures = () => Array.from({ length: draws.whole(0, 3) }, () => picture(`own ${shown++}`));
  const kind = { prefix: 'c', tenant: () => 'one', everySeconds: 5, goesOn, pictures, systemTokens: 512 };
  const arrivals = conversations(draws, kind, count);
  return { arrivals, begins: [{ ...kind, chance: always(systemOf('one')) }] };
}

const CATALOGUE = { pictures: 1_200, exponent: 0.9, movesAfter: 200 };

/** Questions about pictures of a catalogue, some hot; what is hot changes slowly. */
function catalogue(draws: Draws, count: number): Traffic {
  const { pictures: size, exponent, movesAfter } = CATALOGUE;
  const rank = draws.zipf(size, exponent);
  let asked = 0;
  const pictures = (): Part[] => {
    const number = (rank() + Math.floor(asked++ / movesAfter)) % size;
    return [{ ...picture(`catalogue ${number}`), shared: true }];
  };
  const kind = { prefix: 'p', tenant: () => 'one', everySeconds: 2, pictures, systemTokens: 256 };
  const arrivals = conversations(draws, { ...kind, goesOn: () => 0.15 }, count);
  const begins = new Set<string>();
  const moves: number[] = [];
  for (const { conversation, at } of arrivals) {
    if (begins.has(conversation)) continue;
    begins.add(conversation);
    if (begins.size % movesAfter === 0) moves.push(at);
  }
  const chanceOf = zipfChance(size, exponent);
  const chance: Chance = (part, at) => {
    if (part === systemOf('one')) return 1;
    if (!part.startsWith('catalogue ')) return 0;
    const moved = moves.filter((moment) => moment < at).length % size;
    return chanceOf((Number(part.slice('catalogue '.length)) - moved + size) % size);
  };
  return { arrivals, begins: [{ ...kind, chance }] };
}

/** Many tenants of very different size; the largest asks each thing once. */
function tenants(draws: Draws, count: number): Traffic {
  const rank = draws.zipf(40, 1);
  const chanceOf = zipfChance(40, 1);
  let shown = 0;
  const pictures = () => Array.from({ length: draws.whole(0, 2) }, () => picture(`own ${shown++}`));
  const common = { pictures, systemTokens: 1_024 };
  const chat = { ...common, prefix: 't', tenant: () => `tenant ${rank()}`, everySeconds: 6, goesOn };
  const flood = { ...common, prefix: 'f', tenant: () => 'flood', everySeconds: 2.5, goesOn: () => 0 };
  const half = Math.ceil(count / 2);
  const own = systemOf('tenant ');
  const chance: Chance = (part) => (part.startsWith(own) ? chanceOf(Number(part.slice(own.length))) : 0);
  return merge([
    { arrivals: conversations(draws, chat, half), begins: [{ ...chat, chance }] },
    {
      arrivals: conversations(draws, flood, half),
      begins: [{ ...flood, chance: always(systemOf('flood')) }],
    },
  ]);
}

function mixed(draws: Draws, count: number): Traffic {
  const third = Math.ceil(count / 3);
  return merge([chats(draws, third), catalogue(draws, third), tenants(draws, third)]);
}

/** As long as all of them go on. */
function merge(kinds: readonly Traffic[]): Traffic {
  const end = Math.min(...kinds.map(({ arrivals }) => Math.max(...arrivals.map(({ at }) => at))));
  return {
    arrivals: kinds.flatMap(({ arrivals }) => arrivals).filter(({ at }) => at <= end),
    begins: kinds.flatMap(({ begins }) => begins),
  };
}

const TRAFFIC = { conversations: chats, pictures: catalogue, tenants, mixed } as const;

export type TraceName = keyof typeof TRAFFIC;
export const TRACE_NAMES = Object.keys(TRAFFIC) as TraceName[];

/** The same trace for the same seed. */
export function traceOf(name: TraceName, { requests, seed }: TraceOptions): KnownTrace {
  const draws = new Draws(randomOf(seed));
  const names = new PieceNames();
  const { arrivals, begins } = TRAFFIC[name](draws, Math.ceil(requests * 1.3));
  const inOrder = arrivals.sort((a, b) => a.at - b.at).slice(0, requests);
  return {
    name,
    requests: inOrder.map(({ prompt, answer, ...known }): KnownRequest => {
      const { tenant } = known;
      const pieces = names.chain(tenant, [...prompt, ...answer]);
      return { ...known, pieces, promptPieces: names.chain(tenant, prompt).length };
    }),
    within: (seconds) => spreadWithin(seconds, GAP.seconds, GAP.sigma),
    sharedPart: (piece) => {
      const part = names.partOf(piece);
      return part?.shared && part.id;
    },
    rate: (part, at) =>
      begins.reduce((sum, { chance, everySeconds }) => sum + chance(part, at) / everySeconds, 0),
  };
}
