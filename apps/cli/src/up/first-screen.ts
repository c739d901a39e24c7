import { join, relative } from 'node:path';
import { ROOT, SAMPLES_DIR } from '../paths.js';

const SAMPLE = { picture: 'bird-microscope.png', question: 'What is at D2?' };

export interface FirstScreen {
  readonly url: string;
  /** As clients name it; the first one is asked in the examples. */
  readonly models: readonly string[];
  readonly logFolder: string;
  /** Of the Prometheus of `--observe`. */
  readonly prometheusUrl?: string | undefined;
  /** Whether clients must send a key. */
  readonly withKey: boolean;
  /** For shortening paths. */
  readonly cwd: string;
}

/** What a person sees once everything answers. The curl command can be pasted as it is into any POSIX shell. */
export function firstScreen({ url, models, logFolder, prometheusUrl, withKey, cwd }: FirstScreen): string {
  const at = (path: string): string => shortest(path, cwd);
  const sample = at(join(SAMPLES_DIR, SAMPLE.picture));
  const key = withKey ? ' --api-key "$KVCAPSULE_API_KEY"' : '';
  const observed =
    prometheusUrl === undefined
      ? ''
      : `Prometheus asks all of them at ${prometheusUrl}   (alerts ${prometheusUrl}/alerts)\n`;
  const program = quoted(at(join(ROOT, 'kvcapsule')));
  return `
KVCapsule serves ${models.join(', ')} at ${url}/v1   (docs ${url}/docs · metrics ${url}/metrics · all targets for Prometheus ${url}/metrics/targets)
${observed}
Ask about a picture:
  ${program} ask ${quoted(sample)} "${SAMPLE.question}"${urlFlag(url)}${key}

The same with curl:
${curlCommand(url, models[0] ?? '', sample, withKey)}

Logs: ${at(logFolder)}   Stop: Ctrl-C
`;
}

/** A copy-paste request; the shell encodes the picture. */
export function curlCommand(url: string, model: string, picture: string, withKey: boolean): string {
  const auth = withKey ? ` -H "authorization: Bearer $KVCAPSULE_API_KEY"` : '';
  return `curl -N ${url}/v1/chat/completions -H 'content-type: application/json'${auth} -d @- <<END
{"model": ${inDocument(model)}, "stream": true, "messages": [{"role": "user", "content": [
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,$(base64 -w0 ${quoted(picture)})"}},
  {"type": "text", "text": "${SAMPLE.question}"}]}]}
END`;
}

function urlFlag(url: string): string {
  return url === 'http://127.0.0.1:8000' ? '' : ` --url ${url}`;
}

function shortest(path: string, cwd: string): string {
  const short = relative(cwd, path);
  if (short.startsWith('..')) return path;
  return short.includes('/') ? short : `./${short}`;
}

/** JSON for a here-document, in which the shell still expands. */
function inDocument(text: string): string {
  return JSON.stringify(text).replaceAll(/[\\$`]/g, '\\$&');
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
