// Which policy of eviction saves most, on generated traffic without an engine: each policy's prefix cache over pools of
// some shares of all that the traffic uses, beside what no policy can pass (libs/evaluation/src/eviction/optimum.ts
// says why). Nothing depends on the machine or on chance: the same seeds give the same figures.
//
// Usage: node bench/eviction.mjs [--requests 1000] [--seeds 1,2] [--shares 0.1,0.2,0.4,0.6] [--out PATH]
//   writes PATH.json and PATH.html; ./kvcapsule up (or tsc -b) has to have built everything once
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseOptions } from './options.mjs';

const ROOT = resolve(import.meta.dirname, '..');
const built = (path) => import(join(ROOT, 'libs', path, 'index.js'));
const { Coordinated, EVICTION_POLICIES, DEFAULT_EVICTION_POLICY, RebuildCosts } =
  await built('domain/dist/eviction');
const { optimum, reachable, replay, TRACE_NAMES, traceOf } = await built('evaluation/dist/eviction');
const { linesPlot, renderHtml, renderMarkdown } = await built('reporting/dist');

const { values } = parseOptions({
  options: {
    requests: { type: 'string', default: '1000' },
    seeds: { type: 'string', default: '1,2' },
    shares: { type: 'string', default: '0.1,0.2,0.4,0.6' },
    out: { type: 'string', default: join(ROOT, 'bench/results/eviction') },
  },
});
const requests = Number(values.requests);
const [seeds, shares] = [values.seeds, values.shares].map((list) => list.split(',').map(Number));
const POLICIES = Object.keys(EVICTION_POLICIES);

/** What is saved, and what a policy that weighs costs is told to: seconds are those of a worker that has not measured. */
const WORTH = {
  tokens: ({ textTokens, pictureTokens }) => textTokens + pictureTokens,
  seconds: (content) => new RebuildCosts().of({ ...content, storedPages: content.pages }),
  pages: ({ pages }) => pages,
};
const countsOf = ({ picture, tokenIds, pages }) => ({
  pages,
  textTokens: picture === undefined ? tokenIds.length : 0,
  pictureTokens: picture === undefined ? 0 : tokenIds.length,
});
const each = (make) => Object.fromEntries(Object.entries(WORTH).map(([unit, worth]) => [unit, make(worth)]));

/** Pages are those of who saves tokens. */
function foundBy(replayed) {
  const [tokens, seconds] = [replayed(WORTH.tokens), replayed(WORTH.seconds)];
  return { tokens: WORTH.tokens(tokens), seconds: WORTH.seconds(seconds), pages: tokens.pages };
}

function measure(trace, seed, share) {
  const used = new Set(trace.requests.flatMap(({ pieces }) => pieces));
  const usedPages = [...used].reduce((sum, { pages }) => sum + pages, 0);
  const blocks = Math.ceil((usedPages * share) / 8);
  const run = (name, costOf) => replay(trace, blocks, EVICTION_POLICIES[name](costOf));
  const { asked: all } = run('lru');
  const asked = each((worth) => worth(all));
  const bounds = each((worth) => optimum(trace, blocks * 8, (piece) => worth(countsOf(piece))));
  const known = reachable(trace, blocks * 8, (piece) => WORTH.tokens(countsOf(piece)));
  const found = Object.fromEntries(
    POLICIES.map((name) => [name, foundBy((costOf) => run(name, costOf).found)]),
  );
  return {
    trace: trace.name,
    seed,
    share,
    blocks,
    asked,
    bounds,
    reachable: Math.min(known, bounds.tokens.upper),
    found,
  };
}

/** Of the pool: what tenants are sure of, all together. */
const FLOORS = [0, 0.25, 0.5, 0.75, 1];
/** The one that asks everything once; the others by what they ask for. */
const FLOOD = 'flood';

const tokensOf = ({ textTokens, pictureTokens }) => textTokens + pictureTokens;
const shareFound = (tenants) => {
  const sum = (part) => tenants.reduce((total, own) => total + tokensOf(own[part]), 0);
  return sum('found') / sum('asked');
};

/** What floors buy the quiet half of the tenants, and cost all together: the share of their prompts' tokens that was found. */
function measureFloors(trace, seed, share) {
  const used = new Set(trace.requests.flatMap(({ pieces }) => pieces));
  const usedPages = [...used].reduce((sum, { pages }) => sum + pages, 0);
  const blocks = Math.ceil((usedPages * share) / 8);
  return FLOORS.map((guaranteed) => {
    const policy = new Coordinated(EVICTION_POLICIES[DEFAULT_EVICTION_POLICY](WORTH.tokens), {
      capacityPages: 8 * blocks,
      guaranteed,
    });
    const { byTenant } = replay(trace, blocks, policy);
    const others = [...byTenant].filter(([tenant]) => tenant !== FLOOD).map(([, own]) => own);
    const bySize = others.sort((a, b) => tokensOf(a.asked) - tokensOf(b.asked));
    const quiet = shareFound(bySize.slice(0, Math.ceil(bySize.length / 2)));
    return {
      seed,
      share,
      guaranteed,
      quiet,
      others: shareFound(others),
      all: shareFound([...byTenant.values()]),
    };
  });
}

const cells = [];
const floors = [];
for (const name of TRACE_NAMES)
  for (const seed of seeds) {
    const trace = traceOf(name, { requests, seed });
    for (const share of shares) {
      cells.push(measure(trace, seed, share));
      if (name === 'tenants') floors.push(...measureFloors(trace, seed, share));
      process.stderr.write(`${name} ${seed} ${share}\n`);
    }
  }

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
const at = (trace, share) => cells.filter((cell) => cell.trace === trace && cell.share === share);
const ofOptimum = (trace, share, policy, unit) =>
  mean(at(trace, share).map(({ found, bounds }) => found[policy][unit] / bounds[unit].upper));
const reachableOf = (trace, share) =>
  mean(at(trace, share).map(({ reachable: known, bounds }) => known / bounds.tokens.upper));
const hitRate = (trace, share, policy) =>
  mean(at(trace, share).map(({ found, asked }) => found[policy].pages / asked.pages));

const three = (number) => number.toFixed(3);
const rows = TRACE_NAMES.flatMap((trace) => shares.map((share) => ({ trace, share })));
function tableOf(value, known) {
  const lines = rows.map(({ trace, share }) => {
    const numbers = POLICIES.map((policy) => value(trace, share, policy));
    return [`${trace}, ${share}`, ...(known ? [known(trace, share)] : []).map(three), ...numbers.map(three)];
  });
  return { columns: ['traffic, pool', ...(known ? ['reachable'] : []), ...POLICIES], rows: lines };
}

const floorRows = shares.flatMap((share) =>
  FLOORS.map((guaranteed) => {
    const those = floors.filter((row) => row.share === share && row.guaranteed === guaranteed);
    const numbers = ['quiet', 'others', 'all'].map((who) => three(mean(those.map((row) => row[who]))));
    return [String(share), String(guaranteed), ...numbers];
  }),
);

function plotOf(trace, value, known) {
  const along = (of) => shares.map((share) => ({ x: share, y: of(share) }));
  const lines = POLICIES.map((policy) => ({
    ...{ name: policy, isWide: policy === DEFAULT_EVICTION_POLICY },
    points: along((share) => value(trace, share, policy)),
  }));
  const most = { name: 'reachable', colour: 'currentColor', isDashed: true };
  if (known) lines.push({ ...most, points: along((share) => known(trace, share)) });
  const x = { label: 'pool, as a share of all content', ticks: shares };
  return linesPlot(trace, lines, { x, y: { domain: [Math.floor(10 * leastOf(lines)) / 10, 1] } });
}
const leastOf = (lines) => Math.min(...lines.flatMap(({ points }) => points.map(({ y }) => y)));

const VIEWS = [
  ['tokens saved, of what an optimum can', (...args) => ofOptimum(...args, 'tokens'), reachableOf],
  ['seconds saved, of what an optimum can', (...args) => ofOptimum(...args, 'seconds')],
  ['share of the prompts’ pages that were found', hitRate],
];
const bracket = Math.min(...cells.map(({ bounds }) => bounds.tokens.lower / bounds.tokens.upper));
const [, saved] = VIEWS[0];
const isFirst = ({ trace, share }) =>
  POLICIES.every((policy) => saved(trace, share, policy) <= saved(trace, share, DEFAULT_EVICTION_POLICY));
const reached = rows.filter(({ trace, share }) => saved(trace, share, DEFAULT_EVICTION_POLICY) >= 0.85);
const command = `node bench/eviction.mjs --requests ${requests} --seeds ${seeds} --shares ${shares}`;
writeFileSync(
  `${values.out}.json`,
  `${JSON.stringify({ command, requests, seeds, shares, cells, floors }, null, 1)}\n`,
);
const report = {
  title: 'Eviction policies',
  summary: `What each policy saves on generated traffic, beside what no order of eviction can pass; the bounds of that optimum are within ${((1 - bracket) * 100).toFixed(1)} % of each other.`,
  figures: [
    {
      value: `${rows.filter(isFirst).length} of ${rows.length}`,
      label: `in which ${DEFAULT_EVICTION_POLICY} saves most tokens`,
    },
    { value: `${reached.length} of ${rows.length}`, label: 'in which it saves 0.85 of the optimum’s tokens' },
  ],
  sections: [
    ...VIEWS.map(([title, value, known]) => ({
      title,
      plots: TRACE_NAMES.map((trace) => plotOf(trace, value, known)),
      table: tableOf(value, known),
    })),
    {
      title: 'With floors, tenants: share of the prompts’ tokens that was found',
      table: {
        columns: ['pool', '--guaranteed-share', 'quiet half', 'all but the flood', 'all'],
        rows: floorRows,
      },
    },
  ],
  provenance: [['command', command]],
};
writeFileSync(`${values.out}.html`, renderHtml(report));
process.stdout.write(renderMarkdown(report));
