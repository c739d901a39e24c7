import type { LoadOptions } from './options.js';
import { lengthsText } from './options.js';

const seconds = (ms: number): string => `${ms / 1_000} s`;

/** When requests come, in words. */
export function loadText({ shape, trace, requests, durationMs }: LoadOptions): string {
  const end = [
    ...(requests === undefined ? [] : [`${requests} requests`]),
    ...(durationMs === undefined ? [] : [seconds(durationMs)]),
  ];
  const until = end.length > 0 ? `, ${end.join(' or ')}` : '';
  if (shape.kind === 'trace') return `trace at ${trace?.speed ?? 1} times its speed${until}`;
  if (shape.kind === 'closed') return `closed loop of ${shape.concurrency}${until}`;
  const { profile, spacing } = shape;
  const rate =
    profile.kind === 'constant'
      ? `${profile.perSecond} requests/s`
      : `${profile.fromPerSecond} to ${profile.toPerSecond} requests/s`;
  return `open loop, ${spacing === 'poisson' ? 'Poisson' : 'evenly spaced'}, ${rate}${until}`;
}

/** What is asked, in words. */
export function workloadText({ mix, trace, conversations, thinkMs }: LoadOptions): string {
  if (trace) return 'prompts of the trace’s lengths';
  const { turns, promptTokens, outputTokens, sharedPrefixTokens, pictures } = mix;
  const talk = turns > 1 ? [`${turns} turns, ${seconds(thinkMs)} between`] : [];
  if (conversations !== undefined) return ['recorded conversations', ...talk].join(', ');
  const shared = sharedPrefixTokens > 0 ? [`${sharedPrefixTokens} of them the same for all`] : [];
  const drawn =
    pictures &&
    `${100 * pictures.share} % with ${pictures.perRequest} of ${pictures.distinct || 'ever new'} pictures of ` +
      `${pictures.width} x ${pictures.height}` +
      (pictures.distinct > 0 ? ` (Zipf ${pictures.zipf})` : '');
  return [
    `prompts of ${lengthsText(promptTokens)} tokens`,
    ...shared,
    `answers of at most ${lengthsText(outputTokens)}`,
    ...talk,
    ...(drawn ? [drawn] : []),
  ].join(', ');
}

/** The command as it was given, without what may be secret: headers, and queries of URLs. */
export function commandText(args: readonly string[]): string {
  const told = args.map((arg, at) => {
    if (args[at - 1] === '--header') return `${arg.split(':')[0]}:…`;
    if (arg.startsWith('--header=')) return `--header=${arg.slice(9).split(':')[0]}:…`;
    return arg.replace(/(https?:\/\/)[^\s/?#@]*@/, '$1').replace(/(https?:\/\/[^\s?]+)\?\S*/, '$1');
  });
  return [
    'kvcapsule',
    ...told.map((arg) => (/^[\w./:=@,%+-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`)),
  ].join(' ');
}
