import { z } from 'zod';

/**
 * A field that OpenAI knows and this server does not offer: values that ask for nothing pass, any other is
 * `UNSUPPORTED_PARAMETER` with the field's name. Missing and null always ask for nothing.
 */
export const refused = (message: string, asksForNothing: (value: unknown) => boolean = () => false) =>
  z
    .unknown()
    .refine((value) => value == null || asksForNothing(value), {
      error: message,
      params: { code: 'UNSUPPORTED_PARAMETER' },
    })
    .optional();

/**
 * An object in which a field that is not understood is refused by name instead of being dropped in silence. Null
 * stands for a field that is not given, whatever its name.
 */
export const known = <const S extends z.ZodRawShape>(shape: S) =>
  z.object(shape).catchall(z.null('this server has no such field'));

/** What gateways and SDKs send along for others to read. */
export const ignored = z.unknown().optional();

/**
 * Text of a request. JSON can spell half of a surrogate pair, which no tokenizer, hash or wire can take: each
 * would put a replacement character in its place without a word.
 */
export const text = z
  .string()
  .refine((value) => value.isWellFormed(), 'the text holds half of a surrogate pair, which is no character');
