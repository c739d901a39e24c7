// An OpenAI server that only pretends to compute, for routers that speak HTTP to their backends: tokens come as the
// pretended worker's do, each in a chunk of its own as vLLM sends it. `node backend.mjs OPTIONS`, options as JSON, says
// its port to its parent.
import http from 'node:http';
import { Steps } from './steps.mjs';

const { model, name, stepMs, atOnce } = JSON.parse(process.argv[2]);

const steps = new Steps({ stepMs, atOnce }, (made) => {
  for (const one of made) write(one);
});

function write({ job: { response, id, wantsUsage, tokens }, made, isLast }) {
  if (response.destroyed) return;
  const head = { id, object: 'chat.completion.chunk', created: 1, model };
  const say = (choices, more = {}) =>
    response.write(`data: ${JSON.stringify({ ...head, choices, ...more })}\n\n`);
  // not the same again and again: LiteLLM ends a stream of a hundred equal parts
  const delta = { ...(made === 0 && { role: 'assistant' }), content: ` to${made % 10}` };
  say([{ index: 0, delta, finish_reason: null }]);
  if (!isLast) return;
  say([{ index: 0, delta: {}, finish_reason: 'length' }]);
  const usage = { prompt_tokens: 10, completion_tokens: tokens, total_tokens: tokens + 10 };
  if (wantsUsage) say([], { usage });
  response.end('data: [DONE]\n\n');
}

let answers = 0;

function complete(body, response) {
  const { max_tokens: tokens = 16, stream, stream_options: told } = JSON.parse(body);
  if (!stream) throw new Error('only streams are pretended');
  const id = `chatcmpl-${name}-${answers++}`;
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.once('close', () => steps.drop(id));
  steps.add(id, { response, id, tokens, wantsUsage: told?.include_usage ?? false });
}

/** What routers ask of a backend beside answers: whether it lives, what it serves, how loaded it is, its tokens. */
const KNOWN = {
  '/v1/models': () => ({
    object: 'list',
    data: [{ id: model, object: 'model', created: 1, owned_by: 'vllm', root: model, max_model_len: 32_768 }],
  }),
  '/get_model_info': () => ({ model_path: model, tokenizer_path: model, is_generation: true }),
  '/model_info': () => ({ model_path: model, tokenizer_path: model, is_generation: true }),
  '/get_server_info': () => ({
    model_path: model,
    served_model_name: model,
    tp_size: 1,
    dp_size: 1,
    version: '0.5.5',
  }),
  '/server_info': () => ({
    model_path: model,
    served_model_name: model,
    tp_size: 1,
    dp_size: 1,
    version: '0.5.5',
  }),
  '/version': () => ({ version: '0.33.0' }),
  '/get_load': () => [{ dp_rank: 0, num_reqs: 0, num_waiting_reqs: 0, num_tokens: 0 }],
  '/tokenize': () => ({ count: 3, max_model_len: 32_768, tokens: [1, 2, 3] }),
};

/** What vLLM's cache-aware router asks of a prompt before it places it: a token for every four characters. */
function render(body) {
  const { messages, prompt } = JSON.parse(body);
  const text = JSON.stringify(messages ?? prompt ?? '');
  const ids = Array.from({ length: Math.min(2_000, text.length >> 2) }, (_, at) => text.charCodeAt(4 * at));
  return { request_id: 'r', token_ids: ids, model, sampling_params: {} };
}

function json(response, value) {
  const text = JSON.stringify(value);
  const length = Buffer.byteLength(text);
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': length }).end(text);
}

function answer(path, body, response) {
  if (path === '/v1/chat/completions') return complete(body, response);
  if (path.endsWith('/render')) return json(response, render(body));
  const known = KNOWN[path];
  if (known) return json(response, known());
  return response.writeHead(/^\/(health|live|ready)/.test(path) ? 200 : 404).end();
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => answer(request.url.split('?')[0], Buffer.concat(parts).toString(), response));
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
