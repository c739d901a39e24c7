import { KvcError } from '@kvcapsule/contracts/errors';
import { isServiceUrl, SERVICE_LINK } from '@kvcapsule/platform/config';
import { InvalidArgumentError } from 'commander';

/** What a number of the command line may be, both ends included. */
interface Range {
  readonly least: number;
  readonly most: number;
  readonly whole?: boolean;
}

/** As people write numbers: no sign, no hexadecimal, nothing blank, no NaN. */
const NUMBER = /^\d+(\.\d+)?(e[+-]?\d{1,3})?$/i;

function boundedNumber(text: string, { least, most, whole = false }: Range): number | undefined {
  const value = Number(text);
  const isOne = NUMBER.test(text) && value >= least && value <= most && (!whole || Number.isInteger(value));
  return isOne ? value : undefined;
}

const rangeText = ({ least, most, whole = false }: Range): string =>
  `a ${whole ? 'whole ' : ''}number from ${String(least)} to ${String(most)}`;

function flagNumber(flag: string, text: string, range: Range): number {
  const value = boundedNumber(text, range);
  if (value !== undefined) return value;
  throw new KvcError('CONFIG_INVALID', `${flag}: ${text} is not ${rangeText(range)}`);
}

/** @throws KvcError CONFIG_INVALID naming the flag */
export const numberOf = (flag: string, text: string, least: number, most: number): number =>
  flagNumber(flag, text, { least, most });

/** @throws KvcError CONFIG_INVALID naming the flag */
export const wholeOf = (flag: string, text: string, least: number, most: number): number =>
  flagNumber(flag, text, { least, most, whole: true });

/** A parser for commander, which names the option itself; an option's variable may hold a service's URL instead. */
const argument =
  (range: Range) =>
  (text: string): number => {
    if (isServiceUrl(text)) throw new InvalidArgumentError(`${SERVICE_LINK}.`);
    const value = boundedNumber(text, range);
    if (value !== undefined) return value;
    throw new InvalidArgumentError(`it must be ${rangeText(range)}.`);
  };

export const numberArgument = (least: number, most: number) => argument({ least, most });
export const wholeArgument = (least: number, most: number) => argument({ least, most, whole: true });
