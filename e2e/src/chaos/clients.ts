import { setTimeout as sleep } from 'node:timers/promises';
import type { SeededRandom } from '@kvcapsule/testing/scenes';
import { ask, events, hasEnded, picture } from '../harness.js';
import type { Ground, Node } from './ground.js';
import type { End, Expected, Happening } from './history.js';

const body = (more: object, ...messages: object[]) => ({ model: 'emoji-vlm', messages, ...more });

/** Requests whose answers are the same each time. */
export const SCRIPTS: Readonly<Record<string, object>> = {
  greedy: body({ temperature: 0, max_tokens: 24 }, ask('Hello!')),
  sampled: body({ temperature: 1, seed: 7, max_tokens: 160, ignore_eos: true }, ask('Hello!')),
  picture: body({ temperature: 0, max_tokens: 24 }, ask('Describe the image.', picture('a'))),
  pictures: body(
    { temperature: 1, seed: 3, max_tokens: 60, min_tokens: 40 },
    ask('What is different?', picture('b'), picture('c')),
  ),
  penalised: body(
    {
      temperature: 1,
      seed: 11,
      max_tokens: 120,
      frequency_penalty: 0.5,
      stop: [' the', 'zz'],
      min_tokens: 20,
    },
    ask('Tell me more.'),
  ),
  raw: body({ temperature: 1, seed: 5, max_tokens: 80, kv_codec: 'raw' }, ask('Count.', picture('a'))),
};

/** Longer than any answer takes, also one that waits for a worker to come back. */
const PATIENCE_MS = 90_000;

interface Chunk {
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string };
    readonly message?: { readonly content: string };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly code: string };
}

/** What each script's answer is while nothing goes wrong: the same, streamed and whole, from each router. */
export async function answersOf({ routers }: Pick<Ground, 'routers'>): Promise<Map<string, Expected>> {
  const expected = new Map<string, Expected>();
  for (const script of Object.keys(SCRIPTS)) {
    for (const router of routers) {
      for (const stream of [true, false]) {
        const client = new Client(router, script, stream);
        const end = await client.run();
        if (end.how !== 'finished') throw new Error(`${script} is not answered: ${JSON.stringify(end)}`);
        const { reason, completionTokens } = end;
        const answer = { text: client.text, reason, completionTokens };
        const known = expected.get(script) ?? answer;
        if (JSON.stringify(known) !== JSON.stringify(answer))
          throw new Error(`${script} is answered in two ways`);
        expected.set(script, known);
      }
    }
  }
  return expected;
}

/** Sends requests one after the other, over whichever router lets it in, until `until` of `performance.now()`. */
export async function keepAsking(
  ground: Ground,
  random: SeededRandom,
  tell: (happening: Happening) => void,
  nextId: () => number,
  untilMs: number,
): Promise<void> {
  const scripts = Object.keys(SCRIPTS);
  while (performance.now() < untilMs) {
    const router = random.pick(ground.routers);
    const script = random.pick(scripts);
    const request = nextId();
    const client = new Client(router, script, random.next() < 0.75, (text) => {
      tell({ kind: 'text', atMs: performance.now(), request, text });
    });
    tell({ kind: 'asked', atMs: performance.now(), request, script });
    const end = await client.run();
    tell({ kind: 'ended', atMs: performance.now(), request, end });
    // nobody listens there: its process is on its way
    if (end.how !== 'finished') await sleep(100);
  }
}

/**
 * Asks as a client behind a load balancer does: one whose router is on its way out, or not there at the moment, asks the
 * next one. Resolves to how the answer ended; anything but `finished` is a stream that is lost.
 */
export async function askUntilTaken(
  ground: Ground,
  script: string,
  random: SeededRandom,
): Promise<{ readonly text: string; readonly end: End }> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  for (let turn = random.integer(0, ground.routers.length - 1); ; turn += 1) {
    const router = ground.routers[turn % ground.routers.length] as Node;
    const client = new Client(router, script, true);
    const end = await client.run();
    const isTaken = client.text !== '' || !isElsewhere(end);
    if (isTaken || performance.now() > giveUpAt) return { text: client.text, end };
    await sleep(50);
  }
}

/** Whether a load balancer would go on to the next router: its own has not begun and will not. */
function isElsewhere(end: End): boolean {
  return end.how === 'cut' || (end.how === 'refused' && end.code === 'draining');
}

/** One request. */
class Client {
  text = '';
  readonly #process: Node['part']['process'];

  constructor(
    private readonly router: Node,
    private readonly script: string,
    private readonly stream: boolean,
    private readonly heard: (text: string) => void = () => undefined,
  ) {
    this.#process = router.part.process;
  }

  async run(): Promise<End> {
    const options = this.stream ? { stream: true, stream_options: { include_usage: true } } : {};
    try {
      const response = await fetch(`${this.router.part.ready['url']}/v1/chat/completions`, {
        method: 'POST',
        // of a connection that is kept, either side may find that the other has just closed it
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ ...SCRIPTS[this.script], ...options }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      if (this.stream && response.status === 200) return await this.#follow(response);
      return this.#whole((await response.json()) as Chunk);
    } catch (error) {
      if (error instanceof Error && error.name === 'TimeoutError') return { how: 'lost', why: 'has no end' };
      // refused, or broken in the middle: its router's process has ended, or is about to be seen to have
      const isDead = await endsSoon(this.#process);
      return isDead
        ? { how: 'cut' }
        : { how: 'lost', why: `its connection broke: ${String(error)}, ${String((error as Error).cause)}` };
    }
  }

  #whole({ choices = [], usage, error }: Chunk): End {
    if (error) return { how: 'refused', code: error.code };
    this.#take(choices[0]?.message?.content ?? '');
    return finished(choices[0]?.finish_reason, usage?.completion_tokens);
  }

  async #follow(response: Response): Promise<End> {
    const end: { reason?: string; tokens?: number } = {};
    for await (const data of framesOf(response)) {
      if (data === '[DONE]') return finished(end.reason, end.tokens);
      const { choices = [], usage, error } = JSON.parse(data) as Chunk;
      if (error) return { how: 'refused', code: error.code };
      this.#take(choices[0]?.delta?.content ?? '');
      end.reason = choices[0]?.finish_reason ?? end.reason ?? '';
      end.tokens = usage?.completion_tokens ?? end.tokens ?? -1;
    }
    throw new Error('the stream broke');
  }

  #take(text: string): void {
    if (text === '') return;
    this.text += text;
    this.heard(text);
  }
}

/** Whether a process has ended, or does within a few seconds. */
async function endsSoon(process: Node['part']['process']): Promise<boolean> {
  for (let look = 0; look < 60; look += 1) {
    if (hasEnded(process)) return true;
    await sleep(50);
  }
  return false;
}

function finished(reason: string | null | undefined, completionTokens: number | undefined): End {
  return { how: 'finished', reason: reason ?? '', completionTokens: completionTokens ?? -1 };
}

async function* framesOf(response: Response): AsyncGenerator<string> {
  let rest = '';
  for await (const text of (response.body as ReadableStream<Uint8Array>).pipeThrough(
    new TextDecoderStream(),
  )) {
    const whole = (rest + text).lastIndexOf('\n\n') + 2;
    const all = rest + text;
    rest = all.slice(whole);
    yield* events(all.slice(0, whole));
  }
}
