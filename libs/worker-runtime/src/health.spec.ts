import { afterEach, expect, it } from 'vitest';
import { generateOf, type Rig, RouterSide, startRig } from './testing/harness.js';

let rig: Rig;
afterEach(() => rig.close());

it('shows health and metrics', async () => {
  rig = await startRig({});
  await new RouterSide(rig.client).ask(generateOf({ id: 'a', parts: [[10, 11]], maxTokens: 4 }));
  const text = await (await fetch(`${String(rig.worker.metricsUrl)}/metrics`)).text();
  const pages = [...text.matchAll(/^kvcapsule_worker_pages\{state="(\w+)"\} (\d+)$/gm)];
  expect(pages.map(([, state]) => state)).toEqual(['raw', 'rows', 'capsule', 'cached', 'free']);
  expect(pages.reduce((sum, [, , count]) => sum + Number(count), 0)).toBe(512);
  expect(text).toContain('kvcapsule_worker_tokens_total{kind="prompt"} 2');
  expect(text).toMatch(/kvcapsule_worker_requests_total\{reason="(length|stop)"\} 1/);
  for (const path of ['health', 'metrics']) {
    const looked = await fetch(`${String(rig.worker.metricsUrl)}/${path}`, { method: 'HEAD' });
    expect([looked.status, await looked.text()]).toEqual([200, '']);
  }
  const posted = await fetch(`${String(rig.worker.metricsUrl)}/health`, { method: 'POST' });
  expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  const health = await fetch(`${String(rig.worker.metricsUrl)}/health`);
  expect([health.status, await health.json()]).toMatchObject([200, { state: 'ready', capacityPages: 512 }]);
  await rig.worker.drain(10);
  expect((await fetch(`${String(rig.worker.metricsUrl)}/health`)).status).toBe(503);
});
