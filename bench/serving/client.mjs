// One streamed answer, checked: what is not the answer asked for is an error and never a fast time.
import http from 'node:http';

/** A prompt of 17 tiles of a model of two billion takes minutes on two cores. */
const REQUEST_LIMIT_MS = 15 * 60_000;

/** Takes an SSE body apart as it arrives: times of the events with text, finish reason, usage. */
class Transcript {
  text = '';
  /** ms of each event that carried text, from `performance.now()`. */
  times = [];
  finishReason = undefined;
  usage = undefined;
  error = undefined;
  #rest = '';

  take(part) {
    const lines = (this.#rest + part).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) if (line.startsWith('data: {')) this.#event(JSON.parse(line.slice(6)));
  }

  /** What an answer without events says: an error's body. */
  get remainder() {
    return this.#rest;
  }

  #event({ choices, usage, error }) {
    this.error ??= error?.message;
    this.usage = usage ?? this.usage;
    const [choice] = choices ?? [];
    this.finishReason = choice?.finish_reason ?? this.finishReason;
    if (!choice?.delta?.content) return;
    this.text += choice.delta.content;
    this.times.push(performance.now());
  }
}

/** Why this is no answer to `body`; undefined when it is. */
function faultOf(status, transcript, body) {
  if (status !== 200) return `status ${status}: ${transcript.remainder.slice(0, 300)}`;
  if (transcript.error !== undefined) return `error in the stream: ${transcript.error}`;
  const { completion_tokens: made, prompt_tokens: read } = transcript.usage ?? {};
  if (!(made > 0) || !(read > 0)) return `usage ${JSON.stringify(transcript.usage)}`;
  if (transcript.times.length === 0) return 'no text';
  if (body.ignore_eos && (transcript.finishReason !== 'length' || made !== body.max_tokens))
    return `${made} of ${body.max_tokens} tokens, finish reason ${transcript.finishReason}`;
  return undefined;
}

/**
 * Streams one answer; ms from `performance.now()`.
 * @returns {Promise<{began: number, times: number[], text: string, promptTokens: number, cachedTokens: number, tokens: number}>}
 */
export function ask(url, body, agent) {
  const payload = Buffer.from(JSON.stringify(body));
  const headers = { 'content-type': 'application/json', 'content-length': payload.length };
  const began = performance.now();
  return new Promise((ok, fail) => {
    const answered = (response) => {
      const transcript = new Transcript();
      response.setEncoding('utf8');
      response.on('error', fail);
      response.on('data', (part) => transcript.take(part));
      response.on('end', () => {
        const fault = faultOf(response.statusCode, transcript, body);
        if (fault !== undefined) return fail(new Error(fault));
        const {
          prompt_tokens: promptTokens,
          completion_tokens: tokens,
          prompt_tokens_details: of,
        } = transcript.usage;
        const text = transcript.text.trim();
        const cachedTokens = of?.cached_tokens ?? 0;
        return ok({ began, times: transcript.times, text, promptTokens, cachedTokens, tokens });
      });
    };
    const signal = AbortSignal.timeout(REQUEST_LIMIT_MS);
    const request = http.request(
      `${url}/v1/chat/completions`,
      { method: 'POST', agent, headers, signal },
      answered,
    );
    request.on('error', fail);
    request.end(payload);
  });
}

/** Sends all bodies, `atOnce` at a time; answers in their order. The first failure is the load's. */
export async function drive(url, bodies, atOnce) {
  // a connection for each request: a server may close an idle one just when the next request takes it
  const agent = new http.Agent({ keepAlive: false, maxSockets: atOnce });
  const answers = [];
  let next = 0;
  const client = async () => {
    for (let at = next++; at < bodies.length; at = next++) answers[at] = await ask(url, bodies[at], agent);
  };
  try {
    await Promise.all(Array.from({ length: atOnce }, client));
  } finally {
    agent.destroy();
  }
  return answers;
}
