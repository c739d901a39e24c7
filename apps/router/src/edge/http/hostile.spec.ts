import { request } from 'node:http';
import { type ErrorBody } from '@kvcapsule/contracts/openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Telemetry } from '../../operations/telemetry.service.js';
import { ModelPreparer } from '../../prepare/model-preparer.adapter.js';
import { Harness } from '../../testing/harness.js';

const MODEL_DIR = new URL('../../../../../deploy/models/emoji-vlm', import.meta.url).pathname;
const MIB = 1024 * 1024;

/**
 * Processor time that one turn of the event loop may take. Turns are measured by the thread's processor time: on a
 * busy machine the clock tells of the others. The worst of these bodies takes 30 ms.
 */
const MOST_MS = 150;

let router: Harness;
beforeAll(async () => {
  const preparer = await ModelPreparer.open({ modelDir: MODEL_DIR, allowedImageHosts: [] }, new Telemetry());
  router = await new Harness().start({ maxBodyBytes: 64 * MIB, bodyTimeoutMs: 60_000 }, 1, preparer);
  await post(Buffer.from(chat([{ role: 'user', content: 'good words '.repeat(300) }])));
});
afterAll(() => router.stop());

const chat = (messages: unknown, more: object = {}) => JSON.stringify({ model: 'demo', messages, ...more });
const picture = (url: string) => [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }];

function post(body: Buffer): Promise<{ status: number; code: string }> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const call = request(`${router.url}/v1/chat/completions`, { method: 'POST', headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (more: string) => (text += more));
      answer.on('end', () => {
        const { error } = JSON.parse(text) as { error?: ErrorBody['error'] };
        resolve({ status: answer.statusCode ?? 0, code: error?.code ?? 'ok' });
      });
    });
    call.on('error', reject).end(body);
  });
}

/** The most processor time, in ms, that this thread spent between two turns while the work went on. */
async function longestTurn(work: Promise<unknown>): Promise<number> {
  const usedMs = () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  let isOver = false;
  let longestMs = 0;
  const done = work.finally(() => (isOver = true));
  while (!isOver) {
    const beganMs = usedMs();
    await new Promise((resolve) => setTimeout(resolve, 0));
    longestMs = Math.max(longestMs, usedMs() - beganMs);
  }
  await done;
  return longestMs;
}

describe('whatever a body holds, no turn of the event loop is long', () => {
  const BODIES: [string, () => string, number, string][] = [
    [
      '300,000 empty messages',
      () => chat(new Array(300_000).fill({ role: 'user', content: '' })),
      400,
      'invalid_request',
    ],
    [
      '4,000 empty messages',
      () => chat(new Array(4_000).fill({ role: 'user', content: '' })),
      400,
      'context_length_exceeded',
    ],
    [
      'a picture of 60 MiB',
      () => chat(picture(`data:;base64,${'A'.repeat(60 * MIB)}`)),
      400,
      'image_too_large',
    ],
    [
      'a picture of 15 MiB with one foreign character',
      () => chat(picture(`data:;base64,${'A'.repeat(15 * MIB)}!AAA`)),
      400,
      'image_url_invalid',
    ],
    [
      'a picture of 12 MiB with escaped slashes',
      () =>
        chat(picture(`data:;base64,${'A/'.repeat(6 * MIB)}`))
          .replaceAll('A/', String.raw`A\/`)
          .slice(0, 12 * MIB),
      400,
      'invalid_json',
    ],
    [
      'a text of 30 MiB',
      () => chat([{ role: 'user', content: 'x'.repeat(30 * MIB) }]),
      413,
      'request_too_large',
    ],
    [
      'a text of 10 MiB',
      () => chat([{ role: 'user', content: 'x'.repeat(10 * MIB) }]),
      400,
      'context_length_exceeded',
    ],
    [
      'a text of 100,000 markers',
      () => chat([{ role: 'user', content: '<'.repeat(100_000) }]),
      400,
      'context_length_exceeded',
    ],
    ['lists in lists', () => `${'['.repeat(5 * MIB)}${']'.repeat(5 * MIB)}`, 400, 'invalid_request'],
    [
      'a million names',
      () => chat([], { metadata: Object.fromEntries(Array.from({ length: 500_000 }, (_, i) => [i, i])) }),
      400,
      'invalid_request',
    ],
    ['64 MiB of nothing', () => ' '.repeat(64 * MIB), 413, 'request_too_large'],
    [
      '10,000 stops',
      () => chat([{ role: 'user', content: 'x' }], { stop: new Array(10_000).fill('x') }),
      400,
      'invalid_request',
    ],
    [
      '6,000 parts',
      () => chat([{ role: 'user', content: new Array(6_000).fill({ type: 'text', text: '' }) }]),
      200,
      'ok',
    ],
  ];

  it.each(BODIES)('%s', async (_name, body, status, code) => {
    const bytes = Buffer.from(body());
    const answer = post(bytes);
    const longestMs = await longestTurn(answer);
    expect(await answer).toEqual({ status, code });
    expect(longestMs).toBeLessThan(MOST_MS);
  });
});
