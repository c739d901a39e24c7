import { validateHeaderName, validateHeaderValue } from 'node:http';
import { resolve } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { parseDurationMs, parseSlo, type Slo } from '@kvcapsule/load/measurement';
import type { LoadShape } from '@kvcapsule/load/run';
import { type GeneratedMix, type Lengths, parseLengths, type PictureMix } from '@kvcapsule/load/workload';
import { type Command, Option } from 'commander';
import { numberOf, wholeOf } from '../../numbers.js';

/** Flags as commander hands them over. */
export interface LoadFlags {
  readonly url: string;
  readonly model?: string | undefined;
  readonly apiKeyEnv: string;
  readonly header: readonly string[];
  readonly body?: string;
  readonly rate?: string;
  readonly ramp?: string;
  readonly concurrency?: string;
  readonly trace?: string;
  readonly traceSpeed: string;
  readonly spacing: 'poisson' | 'even';
  readonly requests?: string;
  readonly duration?: string;
  readonly warmUp: string;
  readonly drain: string;
  readonly timeout: string;
  readonly conversations?: string;
  readonly promptTokens: string;
  readonly outputTokens: string;
  readonly ignoreEos: boolean;
  readonly sharedPrefixTokens: string;
  readonly turns: string;
  readonly thinkTime: string;
  readonly pictureShare: string;
  readonly pictures: string;
  readonly pictureSize: string;
  readonly distinctPictures: string;
  readonly zipf: string;
  readonly slo?: string;
  readonly seed: string;
  readonly processes: string;
  readonly lagLimit: string;
  readonly mostOpen: string;
  readonly name?: string;
  readonly out?: string;
  readonly json: boolean;
}

/** A load as it was asked for. */
export interface LoadOptions {
  readonly baseUrl: string;
  readonly model?: string;
  /** With the API key: never logged, never stored. */
  readonly headers: Readonly<Record<string, string>>;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly shape: LoadShape;
  readonly trace?: { readonly path: string; readonly speed: number };
  readonly conversations?: string;
  readonly mix: GeneratedMix;
  readonly thinkMs: number;
  readonly requests?: number;
  readonly durationMs?: number;
  readonly warmUpMs: number;
  readonly drainMs: number;
  readonly silenceMs: number;
  readonly slo?: Slo;
  readonly seed: number;
  readonly processes: number;
  readonly lagLimitMs: number;
  readonly mostOpen: number;
}

const DEFAULT_DURATION = '30s';

const collect = (value: string, all: readonly string[]): string[] => [...all, value];

/** Flags that say where a load goes and what it is; `bench serve sweep` has them, too. */
export function addLoadFlags(command: Command): Command {
  return command
    .option('--url <url>', 'server to load, with or without /v1', 'http://127.0.0.1:8000')
    .option('--model <id>', 'model to ask for (default: the first that the server lists)')
    .option('--api-key-env <name>', 'environment variable that holds the key', 'KVCAPSULE_API_KEY')
    .option('--header <line>', 'a header more, as "name: value"; again for each', collect, [])
    .option('--body <json>', 'fields more for each request, as {"temperature":0}')
    .addOption(
      new Option(
        '--spacing <kind>',
        'of an open loop: as callers come who know nothing of each other, or at equal distances',
      )
        .choices(['poisson', 'even'])
        .default('poisson'),
    )
    .option('--requests <n>', 'end after so many requests (of several turns: conversations)')
    .option(
      '--duration <time>',
      `end after so long (default: ${DEFAULT_DURATION}, unless --requests or --trace ends it)`,
    )
    .option('--warm-up <time>', 'what is sent before does not count', '5s')
    .option('--drain <time>', 'wait so long for what is open at the end', '60s')
    .option('--timeout <time>', 'a server that says nothing for so long has failed', '5m')
    .option(
      '--conversations <file>',
      'what people wrote, as ShareGPT’s JSON has it, in place of made up prompts',
    )
    .option('--prompt-tokens <n>', 'N, LEAST-MOST, normal:MEAN:DEVIATION or lognormal:MEDIAN:SIGMA', '128')
    .option('--output-tokens <n>', 'most tokens of an answer, in the same forms', '64')
    .option(
      '--ignore-eos',
      'answers are as long as asked for (an extension of vLLM and of this server)',
      false,
    )
    .option('--shared-prefix-tokens <n>', 'tokens that all prompts begin with, as a system prompt', '0')
    .option('--turns <n>', 'turns of a conversation; each sends all that was said', '1')
    .option('--think-time <time>', 'before the next turn', '0s')
    .option('--picture-share <share>', 'share of conversations that begin with pictures, 0 to 1', '0')
    .option('--pictures <n>', 'pictures of such a one', '1')
    .option('--picture-size <WxH>', 'in pixels', '256x256')
    .option('--distinct-pictures <n>', 'different pictures to draw from; 0: each is new', '0')
    .option('--zipf <s>', 'how unevenly they are drawn: the k-th in proportion to 1/k^s', '1')
    .option(
      '--slo <bounds>',
      'what a good request is: any of ttft, itl (mean), gap (longest), tpot, e2e, as ttft=500ms,itl=50ms',
    )
    .option('--seed <n>', 'same seed, same requests at the same times', '1')
    .option('--processes <n>', 'load processes', '1')
    .option('--lag-limit <time>', 'numbers are invalid when 1 % of requests leave later than this', '25ms')
    .option('--most-open <n>', 'open requests of a process; what comes beyond is an error', '10000');
}

/** Flags of a single load. */
export function addShapeFlags(command: Command): Command {
  return command
    .option('--rate <n>', 'open loop: requests a second, whatever has become of those before (default: 1)')
    .option('--ramp <from-to>', 'open loop: from one rate to the other over --duration')
    .option('--concurrency <n>', 'closed loop: so many callers, each asks again when it is answered')
    .option('--trace <file>', 'times and lengths of a trace: Mooncake’s JSONL, or a CSV as Azure’s')
    .option('--trace-speed <x>', 'times as fast as the trace', '1');
}

const fault = (message: string) => new KvcError('CONFIG_INVALID', message);

const mostOpenOf = (text: string): number => wholeOf('--most-open', text, 1, 1_000_000);
const processesOf = (text: string): number => wholeOf('--processes', text, 1, 256);

const MOST_RATE = 1e6;
const MOST_REQUESTS = 10_000_000;

/** The base of a server's API: what stands alone gets `/v1`. */
export function apiBase(url: string): string {
  if (!URL.canParse(url) || !/^https?:/i.test(url))
    throw fault('--url: not an http(s) URL, such as http://127.0.0.1:8000');
  const { origin, pathname } = new URL(url);
  const path = pathname.replace(/\/+$/, '');
  return `${origin}${path === '' ? '/v1' : path}`;
}

/** What frames a request is the client's own. */
const FRAMING = ['connection', 'content-length', 'expect', 'keep-alive', 'transfer-encoding', 'upgrade'];

/** Whether HTTP can carry it: a line break, for one, ends a header. */
function isHeader(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

function headerOf(line: string): [name: string, value: string] {
  const at = line.indexOf(':');
  const [name, value] = [line.slice(0, Math.max(0, at)).trim().toLowerCase(), line.slice(at + 1).trim()];
  if (!isHeader(name, value)) throw fault('--header: not "name: value" on one line');
  if (FRAMING.includes(name)) throw fault(`--header: ${name} is set by the client itself`);
  return [name, value];
}

function headersOf({ header, apiKeyEnv }: LoadFlags, env: NodeJS.ProcessEnv): Record<string, string> {
  const lines = Object.fromEntries(header.map(headerOf));
  const key = env[apiKeyEnv]?.trim();
  if (!key) return lines;
  const authorization = `Bearer ${key}`;
  if (!isHeader('authorization', authorization))
    throw fault(`${apiKeyEnv}: not a key that a header can hold`);
  return { authorization, ...lines };
}

function extraBodyOf({ body, ignoreEos }: LoadFlags): Record<string, unknown> {
  const extra = ignoreEos ? { ignore_eos: true } : {};
  if (body === undefined) return extra;
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...extra, ...value };
  } catch {
    // told below, as what is JSON and no object
  }
  throw fault('--body: not a JSON object');
}

/** Callers beyond the open requests that are allowed could only ever fail. */
function closedLoop({ mostOpen, processes }: LoadFlags, callers: string): LoadShape {
  const most = mostOpenOf(mostOpen) * processesOf(processes);
  const concurrency = wholeOf('--concurrency', callers, 1, 100_000);
  if (concurrency > most)
    throw fault(`--concurrency: ${concurrency} is more than --most-open lets be open, ${most}`);
  return { kind: 'closed', concurrency };
}

function shapeOf(flags: LoadFlags, durationMs: number | undefined): LoadShape {
  const given = (['rate', 'ramp', 'concurrency', 'trace'] as const).filter(
    (name) => flags[name] !== undefined,
  );
  if (given.length > 1) throw fault(`--${given.join(' and --')}: one of them says when requests come`);
  if (flags.trace !== undefined) return { kind: 'trace' };
  if (flags.concurrency !== undefined) return closedLoop(flags, flags.concurrency);
  if (flags.ramp === undefined) {
    const perSecond = numberOf('--rate', flags.rate ?? '1', 0.001, MOST_RATE);
    return { kind: 'open', profile: { kind: 'constant', perSecond }, spacing: flags.spacing };
  }
  const [from, to, ...more] = flags.ramp.split('-');
  if (from === undefined || to === undefined || more.length > 0) throw fault('--ramp: not FROM-TO, as 1-50');
  if (durationMs === undefined) throw fault('--ramp: --duration says over how long');
  const [fromPerSecond, toPerSecond] = [from, to].map((rate) => numberOf('--ramp', rate, 0.001, MOST_RATE));
  const overSeconds = durationMs / 1_000;
  const profile = {
    kind: 'ramp',
    fromPerSecond: fromPerSecond ?? 0,
    toPerSecond: toPerSecond ?? 0,
    overSeconds,
  } as const;
  return { kind: 'open', profile, spacing: flags.spacing };
}

function picturesOf(flags: LoadFlags): PictureMix | undefined {
  const share = numberOf('--picture-share', flags.pictureShare, 0, 1);
  const [width, height, ...more] = flags.pictureSize.split('x');
  if (width === undefined || height === undefined || more.length > 0)
    throw fault('--picture-size: not WIDTHxHEIGHT, as 256x256');
  const mix = {
    perRequest: wholeOf('--pictures', flags.pictures, 1, 64),
    width: wholeOf('--picture-size', width, 1, 8_192),
    height: wholeOf('--picture-size', height, 1, 8_192),
    distinct: wholeOf('--distinct-pictures', flags.distinctPictures, 0, 1_000_000),
    zipf: numberOf('--zipf', flags.zipf, 0, 10),
  };
  return share > 0 ? { share, ...mix } : undefined;
}

function mixOf(flags: LoadFlags): GeneratedMix {
  const pictures = picturesOf(flags);
  return {
    promptTokens: parseLengths('--prompt-tokens', flags.promptTokens),
    outputTokens: parseLengths('--output-tokens', flags.outputTokens),
    sharedPrefixTokens: wholeOf('--shared-prefix-tokens', flags.sharedPrefixTokens, 0, 1 << 20),
    turns: wholeOf('--turns', flags.turns, 1, 1_000),
    ...(pictures && { pictures }),
  };
}

/** @throws KvcError CONFIG_INVALID naming the flag */
export function parseLoadFlags(flags: LoadFlags, env: NodeJS.ProcessEnv = process.env): LoadOptions {
  const isEnded = flags.requests !== undefined || flags.trace !== undefined;
  const duration = flags.duration ?? (isEnded ? undefined : DEFAULT_DURATION);
  const durationMs = duration === undefined ? undefined : parseDurationMs('--duration', duration);
  const time = (flag: string, text: string) => parseDurationMs(flag, text);
  return {
    baseUrl: apiBase(flags.url),
    ...(flags.model !== undefined && { model: flags.model }),
    headers: headersOf(flags, env),
    extraBody: extraBodyOf(flags),
    shape: shapeOf(flags, durationMs),
    ...(flags.trace !== undefined && {
      trace: { path: resolve(flags.trace), speed: numberOf('--trace-speed', flags.traceSpeed, 1e-6, 1e6) },
    }),
    ...(flags.conversations !== undefined && { conversations: resolve(flags.conversations) }),
    mix: mixOf(flags),
    thinkMs: time('--think-time', flags.thinkTime),
    ...(flags.requests !== undefined && {
      requests: wholeOf('--requests', flags.requests, 1, MOST_REQUESTS),
    }),
    ...(durationMs !== undefined && { durationMs }),
    // the begin of a trace is part of it
    warmUpMs: flags.trace === undefined ? time('--warm-up', flags.warmUp) : 0,
    drainMs: time('--drain', flags.drain),
    silenceMs: time('--timeout', flags.timeout),
    ...(flags.slo !== undefined && { slo: parseSlo(flags.slo) }),
    seed: wholeOf('--seed', flags.seed, 0, 0xffff_ffff),
    processes: processesOf(flags.processes),
    lagLimitMs: time('--lag-limit', flags.lagLimit),
    mostOpen: mostOpenOf(flags.mostOpen),
  };
}

export const lengthsText = (lengths: Lengths): string => {
  if (lengths.kind === 'fixed') return String(lengths.tokens);
  if (lengths.kind === 'uniform') return `${lengths.least} to ${lengths.most}`;
  if (lengths.kind === 'normal') return `normal, ${lengths.mean} ± ${lengths.deviation}`;
  return `lognormal, median ${lengths.median}, sigma ${lengths.sigma}`;
};
