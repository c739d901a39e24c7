// From measured loads to numbers: medians with their range over the rounds, and a peer's distance round by round.

import { quantile, roundedSpread, roundedTo } from '../statistics.mjs';

const spread = (list) => roundedSpread(list, roundedTo(3));

/** The least share of the shortest stream in which all must decode together for a rate to be that of the batch. */
const LEAST_TOGETHER = 0.25;

/**
 * Tokens a second of all streams together while every one of them decodes; undefined when they hardly do at the same
 * time. An event may carry several tokens: a stream's tokens are spread over its events.
 */
function decodeRate(answers) {
  const from = Math.max(...answers.map(({ times }) => times[0]));
  const to = Math.min(...answers.map(({ times }) => times.at(-1)));
  const shortest = Math.min(...answers.map(({ times }) => times.at(-1) - times[0]));
  if (!(to - from > 0) || to - from < LEAST_TOGETHER * shortest) return undefined;
  const within = ({ tokens, times }) =>
    (tokens * times.filter((time) => time > from && time <= to).length) / times.length;
  return (1000 * answers.reduce((total, answer) => total + within(answer), 0)) / (to - from);
}

/** What one side took for a load: seconds, tokens a second, and what its answers were. */
export function measured(answers, { streams }, wallSeconds, cpuSeconds) {
  const firsts = answers.map(({ began, times }) => (times[0] - began) / 1000);
  const gaps = answers.flatMap(({ times }) =>
    times.slice(1).map((time, index) => (time - times[index]) / 1000),
  );
  const prompts = answers.map(({ promptTokens }) => promptTokens);
  return {
    ...{ wall: wallSeconds, cpu: cpuSeconds },
    ...{ first: quantile(firsts, 0.5), firstP99: quantile(firsts, 0.99) },
    gapP99: quantile(gaps, 0.99),
    rate: streams ? decodeRate(answers) : undefined,
    promptTokens: [Math.min(...prompts), Math.max(...prompts)],
    texts: answers.map(({ text }) => text),
  };
}

/** Key of what was measured → its name in a result, and whether more of it is better. */
const MEASURES = {
  first: { name: 'first_token_s' },
  firstP99: { name: 'first_token_p99_s' },
  rate: { name: 'decode_tokens_per_s', moreIsBetter: true },
  gapP99: { name: 'between_tokens_p99_s' },
  wall: { name: 'wall_s' },
  cpu: { name: 'cpu_s' },
};
const RATIOS = ['first', 'rate', 'wall', 'cpu'];

function sideOf(rounds, side) {
  const ok = rounds.map((round) => round[side]).filter((each) => each.failed === undefined);
  const failed = rounds.flatMap((round) => round[side].failed ?? []);
  const numbers = Object.entries(MEASURES).map(([key, { name }]) => [
    name,
    spread(ok.map((each) => each[key])),
  ]);
  return {
    ...Object.fromEntries(numbers),
    prompt_tokens: ok.length === 0 ? undefined : ok.at(-1).promptTokens,
    ...(failed.length === 0 ? {} : { failed }),
  };
}

/** How many times better the first side is than `peer`, round by round. */
function ratiosOf(rounds, ours, peer) {
  return Object.fromEntries(
    RATIOS.map((key) => {
      const { name, moreIsBetter = false } = MEASURES[key];
      const times = rounds.map((round) => {
        const [mine, theirs] = [round[ours][key], round[peer][key]];
        return moreIsBetter ? mine / theirs : theirs / mine;
      });
      return [name.replace(/_(s|per_s)$/, ''), spread(times)];
    }),
  );
}

function sameAnswers(rounds, ours, peer) {
  const both = rounds.filter((round) => round[ours].texts && round[peer].texts);
  const pairs = both.flatMap((round) =>
    round[ours].texts.map((text, index) => text === round[peer].texts[index]),
  );
  return `${pairs.filter(Boolean).length} of ${pairs.length}`;
}

/** A row of the result for each load; `results` is load → rounds → side → what `measured` gave or `failed`. */
export function rowsOf(results, [ours, ...peers]) {
  return Object.entries(results).map(([load, { streams, rounds }]) => ({
    ...{ load, rounds: rounds.length },
    sides: Object.fromEntries([ours, ...peers].map((side) => [side, sideOf(rounds, side)])),
    times: Object.fromEntries(peers.map((peer) => [peer, ratiosOf(rounds, ours, peer)])),
    ...(streams
      ? {}
      : { same_answers: Object.fromEntries(peers.map((peer) => [peer, sameAnswers(rounds, ours, peer)])) }),
  }));
}

const range = (value) => (value === undefined ? '–' : `${value.median} [${value.least}, ${value.most}]`);

/** Markdown: a line for each load and measure, each side's figure, and each peer's distance from the first side. */
export function tableOf(rows, [ours, ...peers], residentMib) {
  const heads = ['load', '', ours, ...peers, ...peers.map((peer) => `times ${peer}`)];
  const lines = rows.flatMap(({ load, sides, times }) =>
    ['first', 'rate', 'cpu'].flatMap((key) => {
      const { name } = MEASURES[key];
      const cells = [ours, ...peers].map((side) =>
        sides[side].failed === undefined ? range(sides[side][name]) : 'failed',
      );
      if (cells.every((cell) => cell === '–' || cell === 'failed') && key === 'rate') return [];
      const short = name.replace(/_(s|per_s)$/, '');
      return [[load, name.replaceAll('_', ' '), ...cells, ...peers.map((peer) => range(times[peer][short]))]];
    }),
  );
  const resident = ['peak resident', 'MiB', ...[ours, ...peers].map((side) => residentMib[side])];
  const all = [heads, heads.map(() => '---'), ...lines, [...resident, ...peers.map(() => '')]];
  return all.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
