import { z } from 'zod';

/** No size of a real model comes near it, and products of three stay whole numbers. */
const MAX_SIZE = 2 ** 22;

/** What is out of range ends the check of its object: relations between fields are not looked at then. */
const ABORT = { abort: true };

export const size = z.int().min(1, ABORT).max(MAX_SIZE, ABORT);
export const tokenId = z.int().min(0, ABORT).max(MAX_SIZE, ABORT);
export const positive = z.number().positive(ABORT);

/** A field that may be absent or null. */
export const orElse = <T extends z.ZodType>(field: T, fallback: z.output<T>) =>
  field.nullish().transform((value): z.output<T> => value ?? fallback);

/** A field whose value the engine computes with, where it is given at all. */
export const only = <const T extends string | number>(...allowed: T[]) =>
  z.literal(allowed, `only ${allowed.join(' and ')} can be computed`).nullish();

/** The ids that end an answer, of none, one or several. */
export const eosTokenId = z
  .union([tokenId, z.array(tokenId)])
  .nullish()
  .transform((ids): readonly number[] => [ids ?? []].flat());
