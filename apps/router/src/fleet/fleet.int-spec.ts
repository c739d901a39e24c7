import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { FakeWorker } from '../testing/fake-worker.js';
import { Harness, until } from '../testing/harness.js';
import { workerRecord } from '../testing/memory-ports.js';
import { Fleet } from './fleet.service.js';

let router: Harness;
afterEach(() => router.stop());

const descriptors = () => readdirSync('/proc/self/fd').length;

/** Over channels of real gRPC, with a worker in this process. */
describe('a worker that is killed while requests keep coming', () => {
  it('costs no descriptors, and is asked by none of them', { timeout: 180_000 }, async () => {
    router = await new Harness().start({ queueWaitMs: 5_000 });
    expect((await router.chat()).status).toBe(200);
    router.worker.kill();
    await sleep(200);
    const before = descriptors();
    const codes = new Set<string>();
    for (let request = 0; request < 100; request += 1) {
      const { error } = (await (await router.chat()).json()) as { error: { code: string } };
      codes.add(error.code);
      await sleep(20);
    }
    expect(descriptors()).toBeLessThanOrEqual(before + 2);
    expect([...codes]).toEqual(['no_worker']);
  });

  it(
    'is asked again over the same channel when it is back at its address',
    { timeout: 180_000 },
    async () => {
      router = await new Harness().start({ queueWaitMs: 5_000 });
      expect((await router.chat()).status).toBe(200);
      const { address } = router.worker;
      router.worker.kill();
      await router.chat();
      router.workers[0] = await new FakeWorker().start(address);
      router.ports.workers = [workerRecord('w0', address, { epoch: 2 })];
      const end = performance.now() + 20_000;
      let status = 0;
      while (status !== 200 && performance.now() < end) {
        ({ status } = await router.chat());
        await sleep(100);
      }
      expect(status).toBe(200);
    },
  );
});

/** A process that takes gRPC streams and never says anything on them; what it does not know it refuses. */
const MUTE = `
  import http2 from 'node:http2';
  const server = http2.createServer();
  const head = { ':status': 200, 'content-type': 'application/grpc' };
  server.on('stream', (stream, { ':path': path }) => {
    if (path.endsWith('/Connect')) stream.respond(head);
    else stream.respond({ ...head, 'grpc-status': '12' }, { endStream: true });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

describe('a worker process that is stopped', () => {
  it('is found within six seconds, and asked again when it goes on', { timeout: 180_000 }, async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', MUTE], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [port] = (await once(child.stdout, 'data')) as [Buffer];
      router = await new Harness().start({}, 0);
      const fleet = router.app.get(Fleet);
      router.ports.workers = [workerRecord('w0', `127.0.0.1:${port.toString().trim()}`)];
      await until(() => fleet.views().length === 1);
      const answer = router.chat();
      await sleep(500);
      child.kill('SIGSTOP');
      const beganMs = performance.now();
      expect(await (await answer).json()).toMatchObject({ error: { code: 'worker_lost' } });
      // six seconds, and some for a busy machine
      expect(performance.now() - beganMs).toBeLessThan(9_000);
      await until(() => fleet.views()[0]?.reach === 'unreachable');
      child.kill('SIGCONT');
      await until(() => fleet.views()[0]?.reach === 'open');
    } finally {
      child.kill('SIGKILL');
    }
  });
});
