// What is asked of routers, and by whom: bodies that nobody has seen before, a closed loop of clients, and an open one.
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { deflateSync } from 'node:zlib';
import { pngChunk } from '@kvcapsule/testing/pictures';

/** The demo model's folder and name. */
export const MODEL = 'emoji-vlm';

const WORDS =
  'bus tree lamp river stone cloud seven green under little basket window copper evening music road'.split(
    ' ',
  );
let asked = 0;

/** A line of text that was never asked. */
export const line = () => `hello ${asked++}`;

export const chat = (content, maxTokens, model = MODEL) =>
  Buffer.from(
    JSON.stringify({
      model,
      stream: true,
      max_tokens: maxTokens,
      messages: [{ role: 'user', content }],
    }),
  );

/** A PNG of about so many bytes that nobody has seen: noise, which does not shrink. */
function noisePng(bytes) {
  const side = Math.max(8, Math.round(Math.sqrt(bytes / 3)));
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const rows = randomBytes(side * (side * 3 + 1));
  for (let row = 0; row < side; row += 1) rows[row * (side * 3 + 1)] = 0;
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  const data = deflateSync(rows, { level: 0 });
  const chunks = [pngChunk('IHDR', header), pngChunk('IDAT', data), pngChunk('IEND', Buffer.alloc(0))];
  return Buffer.concat([signature, ...chunks]);
}

export const pictureBody = (bytes) =>
  chat(
    [
      {
        type: 'image_url',
        image_url: { url: `data:image/png;base64,${noisePng(bytes).toString('base64')}` },
      },
      { type: 'text', text: `What is in picture ${asked++}?` },
    ],
    4,
  );

export function longText() {
  let text = `${asked++}`;
  // about a token a word and one a separator in the demo's vocabulary; measured by the worker's prompt tokens
  for (let at = 0; at < 1_280; at += 1) text += ` ${WORDS[(at * 7 + asked) % WORDS.length]}`;
  return text;
}

const PATH = '/v1/chat/completions';

/** A router that says nothing for so long has failed. */
const SILENCE_MS = 300_000;
/** Of an answer's end: enough for what an error says. */
const TAIL_CHARS = 500;

/** How an answer that is whole ends. */
const isWhole = (tail) => tail.trimEnd().endsWith('data: [DONE]') && !tail.includes('"error"');

/** Sends a body to `url`; resolves to the ms until the answer's first part and until its end, which has to be whole. */
export function post(url, agent, body, moreHeaders = {}) {
  return new Promise((ok, fail) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length, ...moreHeaders };
    const beganMs = performance.now();
    let firstMs;
    const request = http.request(
      { host: url.hostname, port: url.port, path: PATH, method: 'POST', agent, headers },
      (response) => {
        let tail = '';
        response.on('data', (part) => {
          firstMs ??= performance.now() - beganMs;
          tail = `${part.length < TAIL_CHARS ? tail : ''}${part}`.slice(-TAIL_CHARS);
        });
        response.on('end', () =>
          response.statusCode === 200 && isWhole(tail)
            ? ok({ firstMs, wholeMs: performance.now() - beganMs })
            : fail(new Error(`${response.statusCode} ${tail}`)),
        );
      },
    );
    request.on('error', fail);
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`silent for ${SILENCE_MS / 1_000} s`)));
    request.end(body);
  });
}

/** With connections of its own: those of the last load may be closed by the server while bodies are made here. */
async function withAgent(use) {
  const agent = new http.Agent({ keepAlive: true });
  try {
    return await use(agent);
  } finally {
    agent.destroy();
  }
}

/** So many clients, each of which asks again as soon as it is answered. */
export function driveClosed(url, { requests, at, body }) {
  const bodies = Array.from({ length: requests }, body);
  let next = 0;
  return withAgent(async (agent) => {
    const times = [];
    const client = async () => {
      for (let index = next++; index < requests; index = next++)
        times.push(await post(url, agent, bodies[index]));
    };
    await Promise.all(Array.from({ length: at }, client));
    return times;
  });
}

/** Requests come at a steady rate, whoever is still being answered. */
export function driveOpen(url, { requests, perSecond, body }) {
  const bodies = Array.from({ length: requests }, body);
  return withAgent((agent) =>
    Promise.all(
      bodies.map(async (one, index) => {
        await new Promise((next) => setTimeout(next, (1_000 * index) / perSecond));
        return post(url, agent, one);
      }),
    ),
  );
}

/** Asks for a stream and keeps it open; resolves with its first part to what hangs up. */
function openStream(url, agent, body) {
  return new Promise((ok, fail) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const at = { host: url.hostname, port: url.port, path: PATH };
    const request = http.request({ ...at, method: 'POST', agent, headers });
    request.on('response', (response) => {
      if (response.statusCode !== 200) fail(new Error(`${response.statusCode}`));
      response.once('data', () => ok(() => request.destroy())).on('error', () => undefined);
    });
    request.on('error', fail);
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`silent for ${SILENCE_MS / 1_000} s`)));
    request.end(body);
  });
}

/** Holds `count` streams open, asked for `atATime`, while `look` looks. */
export async function withOpenStreams(url, { count, atATime, body }, look) {
  const agent = new http.Agent();
  const hangUps = [];
  try {
    while (hangUps.length < count) {
      const asked = Array.from({ length: Math.min(atATime, count - hangUps.length) }, () =>
        openStream(url, agent, body()),
      );
      const opened = await Promise.allSettled(asked);
      hangUps.push(...opened.flatMap(({ value }) => value ?? []));
      const refused = opened.find(({ status }) => status === 'rejected');
      if (refused) throw new Error(`stream ${hangUps.length + 1} of ${count}: ${refused.reason.message}`);
    }
    return await look();
  } finally {
    for (const hangUp of hangUps) hangUp();
  }
}
