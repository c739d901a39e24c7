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
