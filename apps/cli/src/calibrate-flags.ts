import { KvcError } from '@kvcapsule/contracts';
import type { PackedChoices } from '@kvcapsule/evaluation/calibration';
import { parseRatios, parseRetentions } from '@kvcapsule/evaluation/calibration';
import type { CalibrateOptions } from '@kvcapsule/evaluation/calibration';
import { numberOf, wholeOf } from './numbers.js';

export type CalibrateFlags = Readonly<
  Record<
    | 'model'
    | 'images'
    | 'out'
    | 'count'
    | 'codec'
    | 'ratio'
    | 'groups'
    | 'keyTemplate'
    | 'valueTemplate'
    | 'basis'
    | 'allocation'
    | 'without'
    | 'sensitivities'
    | 'rowBits'
    | 'candidates'
    | 'rowCost'
    | 'retention'
    | 'schedule'
    | 'statistics'
    | 'threads',
    string
  >
>;

export const CALIBRATE_HELP = `
Examples:
  kvcapsule calibrate --model MODEL --images pictures/ --out MODEL/profiles/capsule-mixed-x16.safetensors
  kvcapsule calibrate --model deploy/models/emoji-vlm --images scenes:1001 --ratio 8,16,32 --out mixed.safetensors
  kvcapsule calibrate --model MODEL --images pictures/ --codec capsule --retention 0.25,0.4 --out capsule.safetensors`;

const TEMPLATES = ['none', 'markers', 'group', 'all'] as const;
const PARTS = ['rotation', 'weights', 'sensitivity', 'allocation'] as const;
const MOST_PICTURES = 1_000_000;
const MOST_THREADS = 512;
const ROW_BITS = { 'capsule-q8': 8, 'capsule-q4': 4, 'capsule-mixed': 0 } as const;

function oneOf<Name extends string>(flag: string, text: string, names: readonly Name[]): Name {
  const found = names.find((name) => name === text);
  if (found === undefined)
    throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is none of ${names.join(', ')}`);
  return found;
}

/** How rows get their bits: mixed by water-filling, else one number for the leading rows or for equal shares. */
function allocationOf(
  flags: CalibrateFlags,
  bits: number,
  equal: boolean,
): PackedChoices['fit']['allocation'] {
  const mixed = oneOf('--allocation', flags.allocation, ['picture', 'static']);
  if (bits === 0 && equal)
    throw new KvcError('CONFIG_INVALID', '--without allocation: capsule-mixed is nothing without it');
  if (bits === 0) return mixed;
  return equal ? 'equal' : 'leading';
}

/** Bits of a row; 0: by water-filling. */
function rowBits(codec: keyof typeof ROW_BITS, text: string): number {
  const own = ROW_BITS[codec];
  if (text === '') return own;
  if (own === 0) throw new KvcError('CONFIG_INVALID', '--row-bits: for capsule-q8 and capsule-q4');
  return wholeOf('--row-bits', text, 1, 8);
}

function sensitivityOf(text: string, without: boolean): PackedChoices['sensitivity'] {
  if (text === '') return without ? 'equal' : 'measured';
  if (without)
    throw new KvcError('CONFIG_INVALID', '--sensitivities: --without sensitivity makes all the same');
  return text.split(',').map((part) => {
    const value = Number(part);
    if (part.trim() !== '' && value > 0 && value <= 1e6) return value;
    throw new KvcError('CONFIG_INVALID', `--sensitivities: ${part} is not a number above 0, up to 1e6`);
  });
}

function packedChoices(flags: CalibrateFlags): PackedChoices {
  const codec = oneOf('--codec', flags.codec, ['capsule-q8', 'capsule-q4', 'capsule-mixed']);
  const without = flags.without
    .split(',')
    .filter((part) => part !== '')
    .map((part) => oneOf('--without', part, PARTS));
  const bits = rowBits(codec, flags.rowBits);
  return {
    fit: {
      codec,
      keyTemplate: oneOf('--key-template', flags.keyTemplate, TEMPLATES),
      valueTemplate: oneOf('--value-template', flags.valueTemplate, TEMPLATES),
      basis: oneOf('--basis', flags.basis, ['principal', 'rows']),
      rotate: !without.includes('rotation'),
      weighRows: !without.includes('weights'),
      allocation: allocationOf(flags, bits, without.includes('allocation')),
      bits,
      candidates: numberOf('--candidates', flags.candidates, 1, 10),
      rowCost: numberOf('--row-cost', flags.rowCost, 0, 8),
    },
    ratios: parseRatios(flags.ratio),
    groups: oneOf('--groups', flags.groups, ['tiles', 'whole', 'pooled']),
    sensitivity: sensitivityOf(flags.sensitivities, without.includes('sensitivity')),
  };
}

/** @throws KvcError CONFIG_INVALID naming the flag */
export function calibrateOptions(flags: CalibrateFlags): CalibrateOptions {
  return {
    model: flags.model,
    images: flags.images,
    out: flags.out,
    count: wholeOf('--count', flags.count, 1, MOST_PICTURES),
    threads: wholeOf('--threads', flags.threads, 0, MOST_THREADS),
    ...(flags.statistics !== '' && { statistics: flags.statistics }),
    fit:
      flags.codec === 'capsule'
        ? {
            kind: 'rows',
            retentions: parseRetentions(flags.retention),
            schedule: oneOf('--schedule', flags.schedule, ['flat', 'pyramid']),
          }
        : { kind: 'packed', choices: packedChoices(flags) },
  };
}
