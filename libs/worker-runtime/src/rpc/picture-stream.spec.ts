import type { NeedPicture, SendPictureRequest } from '@kvcapsule/contracts/worker';
import type { ClientWritableStream } from '@grpc/grpc-js';
import { FakeEngine } from '@kvcapsule/testing/engine';
import { afterEach, describe, expect, it } from 'vitest';

import {
  generateOf,
  type Rig,
  type RigOptions,
  RouterSide,
  sendPicture,
  startRig,
  until,
} from '../testing/harness.js';

const rigs: Rig[] = [];

async function rigOf(options: RigOptions = {}): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  return rig;
}

afterEach(async () => {
  for (const rig of rigs.splice(0)) await rig.close();
});

const PICTURE = { tokens: 20, mark: 1 };
const asking = (id: string, ...marks: number[]) =>
  generateOf({ id, parts: [...marks.map((mark) => ({ ...PICTURE, mark })), [10]], maxTokens: 4 });

type Call = ClientWritableStream<SendPictureRequest>;

/** A router that begins to send a picture and does not go on. */
function stalling(rig: Rig): {
  router: RouterSide;
  needs: NeedPicture[];
  calls: Call[];
} {
  const router = new RouterSide(rig.client);
  const needs: NeedPicture[] = [];
  const calls: Call[] = [];
  router.bring = (file, need) => {
    const call = rig.client.sendPicture(() => undefined);
    call.write({ ticket: need.ticket, totalBytes: file.length, data: file.subarray(0, 1) });
    needs.push(need);
    calls.push(call);
  };
  return { router, needs, calls };
}

describe('a picture', () => {
  it('is asked for when it is needed, once for all requests that bring it', async () => {
    const rig = await rigOf({ engine: new FakeEngine(64, [], 5) });
    const router = new RouterSide(rig.client);
    const answers = await Promise.all(['a', 'b', 'c'].map((id) => router.ask(asking(id, 1, 2, 1))));
    const again = await router.ask(asking('d', 1, 2, 1));
    expect(new Set([...answers, again].map(({ text }) => text)).size).toBe(1);
    expect(router.needed).toHaveLength(2);
    await router.ask(asking('e', 2));
    expect(router.needed).toHaveLength(2);
  });

  it('is asked for again when neither its features nor its KV are there any longer', async () => {
    const rig = await rigOf({ engine: new FakeEngine(8), config: { encoderCacheBytes: 0 } });
    const router = new RouterSide(rig.client);
    const first = await router.ask(asking('a', 1));
    await router.ask(asking('b', 1));
    expect(router.needed).toEqual([['a', 0]]);
    for (const mark of [2, 3, 4, 5]) await router.ask(asking(`other ${mark}`, mark));
    const { text } = await router.ask(asking('c', 1));
    expect([router.needed.at(-1), text]).toEqual([['c', 0], first.text]);
  });

  it('is not asked for where it comes with its request', async () => {
    const rig = await rigOf();
    const asked = await new RouterSide(rig.client).ask(asking('a', 1));
    const other = await rigOf();
    const router = new RouterSide(other.client);
    const { pictures, ...generate } = asking('a', 1, 1);
    const eager = pictures.map((picture, index) => ({
      ...picture,
      ...(index === 0 && { file: picture.encoded }),
    }));
    expect((await router.ask({ ...generate, pictures: eager })).error).toBeUndefined();
    expect(router.needed).toEqual([]);
    expect((await router.ask(asking('b', 1))).text).toBe(asked.text);
    expect(router.needed).toEqual([]);
  });

  it('comes in parts, whatever their sizes', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const expected = await router.ask(asking('a', 1));
    const other = await rigOf();
    const slow = new RouterSide(other.client);
    slow.bring = (file, { ticket }) => {
      const parts = [0, 1, 1, 2].map((from, at, all) => file.subarray(from, all[at + 1] ?? file.length));
      void sendPicture(other.client, ticket, parts);
    };
    expect((await slow.ask(asking('a', 1))).text).toBe(expected.text);
  });
});

describe('a picture on its way', () => {
  it('is overtaken by an abort and by other requests, and then nobody waits for it', async () => {
    const rig = await rigOf();
    const { router, needs } = stalling(rig);
    router.send(asking('a', 1));
    await until(() => needs.length === 1);
    expect((await router.ask(asking('text'))).finished).toBeDefined();
    router.abort('a');
    expect((await router.answer('a')).finished).toBeDefined();
    const { ticket } = needs[0] ?? { ticket: '' };
    expect(await sendPicture(rig.client, ticket, [Buffer.of(20, 1)])).toBe('NOT_FOUND');
    expect(rig.worker.serving.pictures.takenBytes).toBe(0);
  });

  it('is brought by the next request that wants it, where the first one ends', async () => {
    const rig = await rigOf();
    const { router, needs } = stalling(rig);
    router.send(asking('a', 1));
    await until(() => needs.length === 1);
    const other = new RouterSide(rig.client);
    other.send(asking('b', 1));
    await until(() => rig.worker.serving.pictures.takenBytes > 20);
    expect(other.needed).toEqual([]);
    router.abort('a');
    expect((await other.answer('b')).error).toBeUndefined();
    expect(other.needed).toEqual([['b', 0]]);
  });

  it.each([
    ['breaks', (call) => call?.cancel()],
    ['ends too early', (call) => call?.end()],
    ['brings too much', (call) => call?.write({ ticket: '', totalBytes: 0, data: Buffer.alloc(2) })],
  ] satisfies [string, (call?: Call) => unknown][])(
    'fails its request, so that another worker is asked, when its stream %s',
    async (_how, end) => {
      const rig = await rigOf();
      const { router, calls } = stalling(rig);
      router.send(asking('a', 1));
      await until(() => calls.length === 1);
      end(calls[0]);
      expect((await router.answer('a')).error).toMatchObject({ code: 'WORKER_LOST' });
      expect(rig.worker.serving.pictures.takenBytes).toBe(0);
      expect((await new RouterSide(rig.client).ask(asking('b', 1))).error).toBeUndefined();
    },
  );

  it('is forgotten with its router', async () => {
    const rig = await rigOf();
    const { router, needs } = stalling(rig);
    router.send(asking('a', 1, 2, 3, 4, 5, 6));
    await until(() => needs.length === 4);
    router.stream.cancel();
    await until(() => rig.worker.serving.pictures.takenBytes === 0);
    for (const { ticket } of needs)
      expect(await sendPicture(rig.client, ticket, [Buffer.of(20, 1)])).toBe('NOT_FOUND');
    expect((await new RouterSide(rig.client).ask(asking('b', 1))).error).toBeUndefined();
  });

  it('holds a drain up for as long as the drain may take', async () => {
    const rig = await rigOf();
    const { router, needs } = stalling(rig);
    router.send(asking('a', 1));
    await until(() => needs.length === 1);
    expect(await rig.worker.drain(30)).toBe(1);
    expect((await router.answer('a')).finished).toBeDefined();
    expect(rig.worker.serving.pictures.takenBytes).toBe(0);
  });
});

describe('what nobody asked for', () => {
  it('is refused, be it unknown, empty or a second stream', async () => {
    const rig = await rigOf();
    const { router, needs } = stalling(rig);
    router.send(asking('a', 1));
    await until(() => needs.length === 1);
    const { ticket } = needs[0] ?? { ticket: '' };
    const statuses = await Promise.all([
      sendPicture(rig.client, ticket, [Buffer.of(20, 2)]),
      sendPicture(rig.client, 'unknown', [Buffer.alloc(1_000)]),
      sendPicture(rig.client, '', []),
    ]);
    expect(statuses).toEqual(['NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND']);
  });

  it('is refused beyond the size of a picture', async () => {
    const rig = await rigOf();
    const router = new RouterSide(rig.client);
    const statuses: Promise<string>[] = [];
    router.bring = (_file, { ticket }) => {
      const part = Buffer.alloc(1024 * 1024);
      statuses.push(sendPicture(rig.client, ticket, new Array<Buffer>(40).fill(part)));
    };
    const { error } = await router.ask(asking('a', 1));
    expect(error).toMatchObject({ code: 'IMAGE_TOO_LARGE', param: 'messages.0.content.0' });
    expect(await statuses[0]).toBe('NOT_FOUND');
  });
});
