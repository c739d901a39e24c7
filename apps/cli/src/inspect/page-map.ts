import type { ClusterPages } from '@kvcapsule/contracts/cluster';
import { bytesText } from '../text-table.js';

type Kind = ClusterPages['runs'][number][0];

const SIGNS: Readonly<Record<Kind, string>> = { free: '.', raw: 'r', capsule: 'C', cached: 'c' };
const WIDTH = 96;
const MOST_LINES = 32;

/** The pool as a map, a sign for each page, or for several of which most are of that kind; then the counts. */
export function pageMap({ worker, runs, pages, page_bytes: pageBytes }: ClusterPages): string {
  const kinds = runs.flatMap(([kind, length]) => new Array<Kind>(length).fill(kind));
  const each = Math.max(1, Math.ceil(kinds.length / (WIDTH * MOST_LINES)));
  const signs: string[] = [];
  for (let from = 0; from < kinds.length; from += each)
    signs.push(SIGNS[mostOf(kinds.slice(from, from + each))]);
  const lines = signs.join('').match(new RegExp(`.{1,${String(WIDTH)}}`, 'g')) ?? [];
  const legend = (Object.keys(SIGNS) as Kind[]).map((kind) => {
    const count = kinds.filter((one) => one === kind).length;
    return `${SIGNS[kind]} ${kind} ${String(count)} (${bytesText(count * pageBytes)})`;
  });
  const scale = each === 1 ? '' : `, ${String(each)} a sign`;
  return `${worker}: ${String(pages)} pages of ${bytesText(pageBytes)}${scale}\n${lines.join('\n')}\n${legend.join('   ')}\n`;
}

function mostOf(kinds: readonly Kind[]): Kind {
  const counts = new Map<Kind, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].reduce((most, one) => (one[1] > most[1] ? one : most))[0];
}
