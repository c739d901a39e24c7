import { basename, join, relative } from 'node:path';
import { ROOT, SAMPLES_DIR } from '../paths.js';

const SAMPLE = { picture: 'bird-microscope.png', question: 'What is at D2?' };

export interface FirstScreen {
  readonly url: string;
  readonly modelDir: string;
  /** Whether clients must send a key. */
  readonly withKey: boolean;
  /** For shortening paths. */
  readonly cwd: string;
}

/** What a person sees once everything answers. The curl command can be pasted as it is into any POSIX shell. */
export function firstScreen({ url, modelDir, withKey, cwd }: FirstScreen): string {
  const at = (path: string): string => shortest(path, cwd);
  const sample = at(join(SAMPLES_DIR, SAMPLE.picture));
  return `
KVCapsule serves ${basename(modelDir)} at ${url}/v1   (docs ${url}/docs · metrics ${url}/metrics)

Ask about a picture:
  ${at(join(ROOT, 'kvcapsule'))} ask ${sample} "${SAMPLE.question}"${urlFlag(url)}

The same with curl:
${curlCommand(url, basename(modelDir), sample, withKey)}

Logs: ${at(join(ROOT, '.kvcapsule/log'))}   Stop: Ctrl-C
`;
}

/** A copy-paste request; the shell encodes the picture. */
export function curlCommand(url: string, model: string, picture: string, withKey: boolean): string {
  const auth = withKey ? ` -H "authorization: Bearer $KVCAPSULE_API_KEY"` : '';
  return `curl -N ${url}/v1/chat/completions -H 'content-type: application/json'${auth} -d @- <<END
{"model": "${model}", "stream": true, "messages": [{"role": "user", "content": [
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

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}
