import { type Finding, type Level, LEVELS } from './finding.js';

export type Tally = Readonly<Record<Level, number>>;

export function tally(findings: readonly Finding[]): Tally {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  return Object.fromEntries(LEVELS.map((level) => [level, count(level)])) as Record<Level, number>;
}

/** Lines by group, with what to do below whatever is not well, and the sums. */
export function doctorScreen(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length));
  const lines = findings.flatMap(({ group, name, level, found, advice }, index) => [
    ...(findings[index - 1]?.group === group ? [] : ['', group]),
    `  ${level.padEnd(4)}  ${name.padEnd(width)}  ${found}`,
    ...(advice === undefined ? [] : [`${' '.repeat(10 + width)}→ ${advice}`]),
  ]);
  const { ok, warn, fail } = tally(findings);
  return `${[...lines, '', `${String(ok)} ok, ${String(warn)} to look at, ${String(fail)} at fault`].join('\n').trimStart()}\n`;
}
