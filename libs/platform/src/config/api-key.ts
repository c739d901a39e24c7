import { z } from 'zod';

/** What can stand in the header `authorization: Bearer KEY`: another key could never match. */
const SENDABLE = /^[\x21-\x7e]*$/;

/** A key that clients send as bearer token. */
export const apiKey = z
  .string()
  .min(8, 'keys have at least 8 characters')
  .regex(SENDABLE, 'keys are printable ASCII characters without blanks');
