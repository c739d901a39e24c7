// A worker that speaks the protocol and only pretends to compute: an answer's tokens come one a step, those of all
// streams of a step in one frame. `node worker.mjs OPTIONS`, options as JSON, says `ready` to its parent.
import { basename, join } from 'node:path';
import { Steps } from './steps.mjs';

const load = (root, path) => import(join(root, path));

/** Asks for the pictures that did not come along with their request, and tells when all of them are here. */
class Pictures {
  /** Tickets of pictures that are needed, and what to do when one is here. */
  #needed = new Map();

  /** `isAsking`: in older checkouts every picture comes along. */
  constructor(isAsking) {
    this.isAsking = isAsking;
  }

  need(call, key, { requestId, pictures }, begin) {
    const indices = this.isAsking ? [...pictures.keys()].filter((index) => !pictures[index].file) : [];
    let missing = indices.length;
    if (missing === 0) return begin();
    const events = indices.map((index) => {
      const ticket = `${key}/${index}`;
      this.#needed.set(ticket, () => {
        if (--missing === 0) begin();
      });
      return { requestId, event: { $case: 'needPicture', value: { ticket, index } } };
    });
    return call.write({ events });
  }

  receive(call, callback) {
    let ticket = '';
    call.on('data', (part) => (ticket ||= part.ticket));
    call.on('end', () => {
      this.#needed.get(ticket)?.();
      this.#needed.delete(ticket);
      callback(null, {});
    });
  }
}

const finishOf = (request, reason) => {
  const kv = { codec: 'capsule', bytes: 100n, rawBytes: 300n, pictures: { bytes: 40n, rawBytes: 200n } };
  const tokens = { promptTokens: request.tokenIds.length, completionTokens: request.maxTokens };
  return { reason, text: '', usage: { ...tokens, cachedTokens: 0, kv }, logprobs: [] };
};

/** One request's next token as events of the protocol. */
function eventsOf({ request, made, isLast }, reason) {
  const { requestId } = request;
  const events = [];
  const say = ($case, value) => events.push({ requestId, event: { $case, value } });
  if (made === 0) say('started', { promptTokens: request.tokenIds.length, cachedTokens: 0 });
  say('delta', { text: ' tok', tokenIds: [100 + (made % 100)], logprobs: [] });
  if (isLast) say('finished', finishOf(request, reason));
  return events;
}

async function serve({ root, stepMs, atOnce, prefillMs = [0, 0] }) {
  const { WorkerServiceService, FinishReason } = await load(root, 'libs/contracts/dist/worker/index.js');
  const { createRpcServer, listenRpc } = await load(root, 'libs/platform/dist/rpc/index.js');
  const reason = FinishReason.FINISH_REASON_LENGTH;
  const steps = new Steps({ stepMs, atOnce }, (made) => {
    const frames = Map.groupBy(made, ({ job }) => job.call);
    for (const [call, tokens] of frames) {
      const events = tokens.flatMap(({ job, ...at }) => eventsOf({ request: job.request, ...at }, reason));
      if (!call.destroyed) call.write({ events });
    }
  });
  const isAsking = 'sendPicture' in WorkerServiceService;
  const pictures = new Pictures(isAsking);
  const connect = (call) => {
    call.on('error', () => undefined);
    call.on('data', ({ message }) => {
      if (message?.$case === 'abort') steps.drop(message.value.requestId);
      if (message?.$case !== 'generate') return;
      const request = message.value;
      const answer = () => steps.add(request.requestId, { call, request, tokens: request.maxTokens });
      const [least, most] = prefillMs;
      const begin = () => (most > 0 ? setTimeout(answer, least + Math.random() * (most - least)) : answer());
      pictures.need(call, request.requestId, request, begin);
    });
  };
  const server = createRpcServer();
  server.addService(WorkerServiceService, {
    ...Object.fromEntries(Object.keys(WorkerServiceService).map((name) => [name, () => undefined])),
    ...(isAsking && { sendPicture: (call, callback) => pictures.receive(call, callback) }),
    connect,
  });
  return `127.0.0.1:${await listenRpc(server, '127.0.0.1:0')}`;
}

async function register({ root, redisUrl, modelDir, capacityPages = 80_000_000 }, address) {
  const { createRedisClient, RedisRegistry } = await load(root, 'libs/platform/dist/redis/index.js');
  const { openModelFolder } = await load(root, 'libs/model/dist/index.js');
  const folder = await openModelFolder(modelDir);
  const registry = new RedisRegistry(await createRedisClient(redisUrl));
  const descriptor = {
    ...{ workerId: 'w', address, modelId: basename(modelDir), modelRevision: 'r', profileId: '' },
    ...{
      contextTokens: 8192,
      blockTokens: 16,
      pagesPerBlock: 8,
      pageBytes: 6144,
      capacityPages,
      maxRunning: 100_000,
    },
    ...{ codec: 'raw', codecs: ['raw'], formats: [], precision: 'bf16/f16', arithmetic: 'pretended' },
    ...{ imageProcessor: 'p', processorRevision: folder.processorRevision ?? '' },
  };
  const free = { state: 'ready', running: 0, waiting: 0, freePages: descriptor.capacityPages };
  const { epoch } = await registry.register(descriptor, free, { instanceId: 'pretended', heldEpoch: 0 });
  // an older checkout takes the id alone
  const beat = (worker) => registry.heartbeat(worker, epoch, free);
  setInterval(() => void beat(descriptor).catch(() => beat('w').catch(() => undefined)), 2_000);
}

const options = JSON.parse(process.argv[2]);
await register(options, await serve(options));
process.send('ready');
