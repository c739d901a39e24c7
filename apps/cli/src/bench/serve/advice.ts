import { CliError } from '../../failure.js';
import { whyOf } from '../../server.js';

/** What to do about a server that does not answer as it should, by the beginning of the fault's kind. */
const ADVICE: readonly (readonly [fault: RegExp, advice: string])[] = [
  [/^http_3/, 'It redirects: name the address that it leads to with --url.'],
  [/^http_40[13]/, 'Put the key into the variable that --api-key-env names.'],
  [/^http_404/, 'Look at the path of --url (/v1 is added where it has none), and at --model.'],
  [/^http_4(13|00|22)/, 'It refuses the request: look at --model, --body and --header.'],
  [/^http_(429|503)/, 'It takes no more requests for the moment: try again later.'],
  [/^http_5|^stream_error/, 'The fault is the server’s: its log says more.'],
  [/^(garbage|broken_off)/, 'It does not stream chat completions as OpenAI’s API does.'],
  [/^timeout/, '--timeout says for how long a server may say nothing.'],
  [/^connect(?!ion_lost)/, 'Start a server, or name it with --url.'],
  [/^connection_lost/, 'It closes the connection without an answer: is it https, or another protocol?'],
];

export const adviceFor = (fault: string): string | undefined =>
  ADVICE.find(([kind]) => kind.test(fault))?.[1];

/** Of a server whose first answer did not come; what the network said is told by its code. */
export function unreachable(baseUrl: string, error: unknown): CliError {
  if (error instanceof Error && error.name === 'TimeoutError')
    return new CliError(`${baseUrl} takes the connection and says nothing`, 'Is it still starting?');
  return new CliError(
    `nothing answers at ${baseUrl}${whyOf(error)}`,
    'Start a server, or name it with --url.',
  );
}
