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

/** A field like any other in JSON, and the one that zod leaves out without a word, lest it become a prototype. */
const PROTOTYPE = '__proto__';
/** In its place stands a field that is as unknown and that zod looks at; `shownName` gives its own name back. */
const STAND_IN = `${PROTOTYPE}\0`;

/** How a field of a body is called in errors. */
export const shownName = (name: string) => (name === STAND_IN ? PROTOTYPE : name);

/**
 * Has every field of a parsed body looked at, whatever its name. Changes the body in place, which its reader alone
 * holds. Without recursion: 64 KiB of JSON may be nested 30,000 deep.
 */
export function withAllFields(body: unknown): unknown {
  const open = [body];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    if (Object.hasOwn(value, PROTOTYPE)) {
      const field = Object.getOwnPropertyDescriptor(value, PROTOTYPE) ?? {};
      Reflect.deleteProperty(value, PROTOTYPE);
      Object.defineProperty(value, STAND_IN, field);
    }
    for (const inner of Object.values(value))
      if (typeof inner === 'object' && inner !== null) open.push(inner);
  }
  return body;
}

/** What gateways and SDKs send along for others to read. */
export const ignored = z.unknown().optional();

/**
 * Text of a request. JSON can spell half of a surrogate pair, which no tokenizer, hash or wire can take: each
 * would put a replacement character in its place without a word.
 */
export const text = z
  .string()
  .refine((value) => value.isWellFormed(), 'the text holds half of a surrogate pair, which is no character');
