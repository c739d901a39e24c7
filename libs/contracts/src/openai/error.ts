import { z } from 'zod';
import { ERRORS, KvcError } from '../errors/index.js';
import { shownName } from './refused.js';

export const ErrorBody = z
  .strictObject({
    error: z.strictObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string(),
    }),
  })
  .meta({ id: 'Error' });
export type ErrorBody = z.infer<typeof ErrorBody>;

/** An error as OpenAI's clients expect it, its code in lower case. */
export function errorBody(error: KvcError): ErrorBody {
  return {
    error: {
      message: error.message,
      type: ERRORS[error.code].type,
      param: error.param ?? null,
      code: error.code.toLowerCase(),
    },
  };
}

/** Names come from the client: long ones are cut so that an error stays readable. */
const MAX_TEXT = 200;
const cut = (text: string) => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);

type Issue = z.core.$ZodIssue;

/** Of a union's branches, the one that got furthest is the one that was meant. */
function innermost(
  issue: Issue,
  path: readonly PropertyKey[] = [],
): { issue: Issue; path: readonly PropertyKey[] } {
  const here = { issue, path: [...path, ...issue.path] };
  if (issue.code !== 'invalid_union') return here;
  const below = issue.errors.flatMap((branch) =>
    branch.slice(0, 1).map((inner) => innermost(inner, here.path)),
  );
  return below.reduce((best, next) => (next.path.length > best.path.length ? next : best), here);
}

/** `messages.0.content.1`: what a part is (its `type`) is a matter of the part. */
function paramOf(path: readonly PropertyKey[]): string {
  const names = path.map((name) => shownName(String(name)));
  if (names.at(-1) === 'type' && names.at(-3) === 'content') names.pop();
  return cut(names.join('.'));
}

/** The first fault of a body as an error: its field by name, never the value that was sent. */
export function requestError(issues: readonly Issue[]): KvcError {
  const found = issues.map((issue) => innermost(issue));
  const refused = found.find(
    ({ issue }) => issue.code === 'custom' && issue.params?.['code'] === 'UNSUPPORTED_PARAMETER',
  );
  const first = refused ?? found[0];
  if (!first) return new KvcError('INVALID_REQUEST', 'The body is not valid.');
  const param = paramOf(first.path);
  return new KvcError(
    refused ? 'UNSUPPORTED_PARAMETER' : 'INVALID_REQUEST',
    `${param || 'body'}: ${cut(first.issue.message)}`,
    {
      ...(param && { param }),
    },
  );
}
