import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, Children, Cluster, MODEL_DIR, startPart, until } from './harness.js';

/** Far longer than parts wait for the receiver at their end, far shorter than the exporter by itself would. */
const END_MS = 60_000;
const EXPORT_MS = '300000';
const ENDPOINT = 'OTEL_EXPORTER_OTLP_ENDPOINT';

const sockets: Socket[] = [];
/** Takes connections and what comes on them, and never says a word. */
const hanging = createServer((socket) => {
  sockets.push(socket.resume().on('error', () => undefined));
});

const url = (): string => `http://127.0.0.1:${String((hanging.address() as AddressInfo).port)}`;

beforeAll(async () => {
  hanging.listen(0, '127.0.0.1');
  await once(hanging, 'listening');
});
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  hanging.close();
});

describe('a receiver of traces that hangs', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    const set = {
      [ENDPOINT]: url(),
      OTEL_EXPORTER_OTLP_TIMEOUT: EXPORT_MS,
      OTEL_BSP_EXPORT_TIMEOUT: EXPORT_MS,
    };
    Object.assign(process.env, set);
    cluster = await Cluster.start();
    for (const name of Object.keys(set)) Reflect.deleteProperty(process.env, name);
  }, 120_000);
  afterAll(() => cluster.stop());

  it('costs no request, and ends wait for it a moment only', async () => {
    const body = { model: 'emoji-vlm', messages: [ask('Hello!')], max_tokens: 3, ignore_eos: true };
    for (let round = 0; round < 10; round += 1) {
      const answers = await Promise.all(Array.from({ length: 10 }, () => cluster.chat(body)));
      expect(answers.map(({ status }) => status)).toEqual(new Array(10).fill(200));
      await Promise.all(answers.map((answer) => answer.text()));
    }
    // both have sent what they had, and wait
    await until(() => sockets.length >= 2, 60_000);
    for (const { name, process: child } of [cluster.router, ...cluster.workers]) {
      const ended = once(child, 'exit');
      const beganMs = performance.now();
      child.kill('SIGTERM');
      expect([name, await ended]).toEqual([name, [0, null]]);
      expect(performance.now() - beganMs).toBeLessThan(END_MS);
    }
  }, 240_000);
});

describe('a receiver of traces whose address is none', () => {
  it.each(['router', 'worker'] as const)('is refused by a %s at its start', async (name) => {
    const children = new Children();
    const logDir = mkdtempSync(join(tmpdir(), 'kvc-astray-'));
    const started = startPart(name, ['--model', MODEL_DIR, '--redis', 'redis://127.0.0.1:1'], {
      ...{ logDir, children },
      env: { [ENDPOINT]: 'collector:4318' },
    });
    await expect(started).rejects.toThrow(/CONFIG_INVALID: OTEL_EXPORTER_OTLP_ENDPOINT: must be the URL/);
    await children.stop();
    rmSync(logDir, { recursive: true });
  });
});
