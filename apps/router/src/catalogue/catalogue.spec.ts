import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness, modelSettings, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';

let router: Harness;

/** Two models, a worker for each; the worker of `big` holds half of what its model allows. */
beforeEach(async () => {
  router = new Harness();
  const models = ['demo', 'big'].map((id) => modelSettings(`${id}-vlm`, id));
  await router.start({ models }, 2);
  const [demo, big] = router.workers.map(({ address }) => address);
  router.ports.workers = [
    workerRecord('w0', demo ?? ''),
    workerRecord('w1', big ?? '', {
      ...{ modelId: 'big', contextTokens: 32, codecs: ['raw'], precision: 'q8_0/f16' },
    }),
  ];
  await router.fleet.refresh();
});
afterEach(() => router.stop());

const get = async (path: string) => {
  const response = await fetch(`${router.url}${path}`);
  return [response.status, (await response.json()) as object] as const;
};
const ask = (model: string, text = 'abc', more: object = {}) =>
  router.post({ model, messages: [{ role: 'user', content: text }], ...more });

describe('several models', () => {
  it('are listed, each with what its own workers allow', async () => {
    const entries = [
      {
        ...{ id: 'demo-vlm', max_model_len: 64, kv_codecs: ['capsule', 'q8', 'raw'] },
        precisions: ['f16/f16'],
      },
      { id: 'big-vlm', max_model_len: 32, kv_codecs: ['raw'], precisions: ['q8_0/f16'] },
    ];
    expect(await get('/v1/models')).toMatchObject([200, { data: entries }]);
    expect(await get('/v1/models/big-vlm')).toMatchObject([200, { id: 'big-vlm' }]);
    expect(await get('/v1/models/demo')).toMatchObject([404, { error: { code: 'model_not_found' } }]);
  });

  it('are answered by their own workers, under their own names', async () => {
    for (const model of ['big-vlm', 'demo-vlm', 'big-vlm']) {
      expect(await (await ask(model)).json()).toMatchObject({ model });
    }
    expect(router.workers.map(({ received }) => received.length)).toEqual([1, 2]);
    expect((await ask('other')).status).toBe(404);
  });

  it('have their own contexts and codecs', async () => {
    const text = 'x'.repeat(40);
    expect((await ask('demo-vlm', text)).status).toBe(200);
    expect((await ask('big-vlm', text)).status).toBe(400);
    await ask('big-vlm', 'x'.repeat(30));
    expect(router.workers.map(({ received }) => received[0]?.maxTokens)).toEqual([25, 3]);
    expect((await ask('demo-vlm', 'x', { kv_codec: 'q8' })).status).toBe(200);
    expect(await (await ask('big-vlm', 'x', { kv_codec: 'q8' })).json()).toMatchObject({
      error: { code: 'kv_codec_unavailable' },
    });
  });

  it('are ready as long as one of them has a worker, and those without are named', async () => {
    expect(await get('/health/ready')).toEqual([200, { status: 'ready', reasons: [] }]);
    const load = { state: 'draining', running: 0, waiting: 0, freePages: 160 } as const;
    const drain = (record: WorkerRecord) => ({ ...record, load });
    const [first, second] = router.ports.workers as [WorkerRecord, WorkerRecord];
    router.ports.workers = [drain(first), second];
    await router.fleet.refresh();
    const missing = ['demo', 'big'].map((id) => `no worker is ready for model ${id}-vlm`);
    expect(await get('/health/ready')).toEqual([200, { status: 'degraded', reasons: missing.slice(0, 1) }]);
    expect((await ask('big-vlm')).status).toBe(200);
    expect((await ask('demo-vlm')).status).toBe(503);
    router.ports.workers = [drain(first), drain(second)];
    await router.fleet.refresh();
    expect(await get('/health/ready')).toEqual([503, { status: 'unready', reasons: missing }]);
  });
});

describe('a worker that is registered and cannot be reached', () => {
  it('makes its model unready as it is refused', async () => {
    expect((await ask('demo-vlm')).status).toBe(200);
    router.worker.kill();
    await until(() => router.fleet.views()[0]?.reach === 'unreachable');
    expect((await ask('demo-vlm')).status).toBe(503);
    const reasons = ['no worker is ready for model demo-vlm'];
    expect(await get('/health/ready')).toEqual([200, { status: 'degraded', reasons }]);
  });
});

describe('workers with another tokenizer or template', () => {
  const revisions = async (...changes: Partial<WorkerRecord>[]) => {
    router.ports.workers = changes.map((change, index) =>
      workerRecord(`w${index}`, router.workers[index]?.address ?? '', change),
    );
    await router.fleet.refresh();
  };
  const askAll = async () => {
    const answers = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((text) => ask('demo-vlm', text)));
    return answers.map(({ status }) => status);
  };
  const says = (who: string) =>
    `${who} another tokenizer or template revision than this router for model demo-vlm`;
  const unserved = ['demo', 'big'].map((id) => `no worker is ready for model ${id}-vlm`);

  it('are asked for nothing, narrow nothing, and are counted', async () => {
    await revisions({ codecs: ['raw'] }, { processorRevision: 'q', contextTokens: 8 });
    expect(await askAll()).toEqual(new Array(6).fill(200));
    expect(router.workers.map(({ received }) => received.length)).toEqual([6, 0]);
    const entry = { max_model_len: 64, kv_codecs: ['raw'] };
    expect(await get('/v1/models/demo-vlm')).toMatchObject([200, entry]);
    const reasons = [unserved[1], says('1 worker has')];
    expect(await get('/health/ready')).toEqual([200, { status: 'degraded', reasons }]);
  });

  it('leave a router ready that has others', async () => {
    await revisions({}, { processorRevision: 'q' });
    const { address } = router.worker;
    router.ports.workers = [...router.ports.workers, workerRecord('w2', address, { modelId: 'big' })];
    await router.fleet.refresh();
    const reasons = [says('1 worker has')];
    expect(await get('/health/ready')).toEqual([200, { status: 'ready', reasons }]);
  });

  it('are refused although no other is there', async () => {
    await revisions({ processorRevision: 'q' }, { processorRevision: 'r' });
    expect(await (await ask('demo-vlm')).json()).toMatchObject({
      error: {
        code: 'no_worker',
        message: 'No worker is ready: 2 with another tokenizer or template revision.',
      },
    });
    expect(router.workers.map(({ received }) => received.length)).toEqual([0, 0]);
    const reasons = [...unserved, says('2 workers have')];
    expect(await get('/health/ready')).toEqual([503, { status: 'unready', reasons }]);
  });

  it('are not those whose weights alone are newer', async () => {
    await revisions({ modelRevision: 's' }, { modelId: 'big' });
    expect(await askAll()).toEqual(new Array(6).fill(200));
    expect(await get('/health/ready')).toEqual([200, { status: 'ready', reasons: [] }]);
  });
});

describe('names of a model', () => {
  const start = async (isDefault: boolean) => {
    await router.stop();
    router = new Harness();
    const models = [
      { ...modelSettings('demo-vlm', 'demo'), aliases: ['gpt'], isDefault },
      modelSettings('big', 'big'),
    ];
    await router.start({ models });
  };
  const messages = [{ role: 'user', content: 'abc' }];

  it('are its aliases, too; answers have its own', async () => {
    await start(false);
    for (const stream of [false, true]) {
      const answer = await (await router.post({ model: 'gpt', messages, stream })).text();
      expect(answer).toContain('"model":"demo-vlm"');
    }
    expect(await get('/v1/models/gpt')).toMatchObject([200, { id: 'demo-vlm' }]);
    const [, list] = await get('/v1/models');
    expect(list).toMatchObject({ data: [{ id: 'demo-vlm' }, { id: 'big' }] });
  });

  it('may be left out where one is the default', async () => {
    await start(true);
    for (const model of [undefined, null]) {
      const response = await router.post({ model, messages });
      expect(await response.json()).toMatchObject({ model: 'demo-vlm' });
    }
  });

  it('may not where none is', async () => {
    await start(false);
    const response = await router.post({ messages });
    const error = { code: 'invalid_request', param: 'model' };
    expect([response.status, await response.json()]).toMatchObject([400, { error }]);
  });
});

describe('two revisions of a model', () => {
  const WORKERS = 3;
  /** Another revision is another process, so it has another epoch. */
  const set = async (...revisions: string[]) => {
    const before = router.ports.workers;
    router.ports.workers = revisions.map((processorRevision, index) => {
      const epoch = before[index]?.epoch ?? 0;
      const isSame = before[index]?.processorRevision === processorRevision;
      const changes = { processorRevision, epoch: isSame ? epoch : epoch + 1 };
      return workerRecord(`w${index}`, router.workers[index]?.address ?? '', changes);
    });
    await router.fleet.refresh();
  };

  beforeEach(async () => {
    await router.stop();
    router = new Harness();
    await router.start({ models: [modelSettings('demo', 'demo', 'old')], queueEntries: 500 }, WORKERS);
  });

  it('are both used, the newer as long as it has room', async () => {
    await set('old', 'old', 'old');
    expect((await router.chat()).status).toBe(200);
    await set('p', 'old', 'old');
    await router.chat();
    expect(router.worker.received.length).toBeGreaterThan(0);
    const load = { state: 'ready', running: 1, waiting: 1, freePages: 100 } as const;
    const [first, ...others] = router.ports.workers as [WorkerRecord, ...WorkerRecord[]];
    router.ports.workers = [{ ...first, load }, ...others];
    await router.fleet.refresh();
    const before = router.worker.received.length;
    await router.chat();
    expect(router.worker.received).toHaveLength(before);
  });

  it('leave a worker of neither unused, and say so', async () => {
    await set('p', 'old', 'q');
    expect(await get('/health/ready')).toEqual([
      200,
      {
        status: 'ready',
        reasons: ['1 worker has another tokenizer or template revision than this router for model demo'],
      },
    ]);
  });

  it('take over a request that waits for the last worker of the other', async () => {
    const load = { state: 'ready', running: 1, waiting: 0, freePages: 0 } as const;
    await set('old', 'q', 'q');
    router.ports.workers = router.ports.workers.map((record) => ({ ...record, load }));
    await router.fleet.refresh();
    const answer = router.chat();
    await until(() => router.inflight.size === 1);
    await set('p', 'q', 'q');
    expect((await answer).status).toBe(200);
  });

  it('take over from one another under load, worker by worker, and no request fails', async () => {
    await set('old', 'old', 'old');
    let [isOver, asked] = [false, 0];
    const failures: string[] = [];
    const client = async () => {
      while (!isOver) {
        const response = await router.chat('abcdef');
        const text = await response.text();
        asked += 1;
        if (response.status !== 200 || !text.includes('abcdef')) failures.push(text);
      }
    };
    const clients = Array.from({ length: 8 }, client);
    const answered = async (more: number) => {
      const goal = asked + more;
      await until(() => asked >= goal);
    };
    for (const step of [
      ['p', 'old', 'old'],
      ['p', 'p', 'old'],
      ['p', 'p', 'p'],
      ['p', 'old', 'p'],
      ['old', 'old', 'old'],
    ]) {
      await answered(20);
      await set(...step);
    }
    await answered(20);
    isOver = true;
    await Promise.all(clients);
    expect(failures).toEqual([]);
    expect(asked).toBeGreaterThan(100);
  });
});
