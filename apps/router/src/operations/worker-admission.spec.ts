import { ClusterAdmission } from '@kvcapsule/contracts/cluster';
import { afterEach, describe, expect, it } from 'vitest';
import { Harness } from '../testing/harness.js';

let router: Harness;
afterEach(() => router.stop());

async function set(
  worker: string,
  verb: 'drain' | 'resume',
  key = '',
  browser: Record<string, string> = {},
): Promise<[number, unknown]> {
  const response = await fetch(`${router.url}/v1/cluster/workers/${worker}/${verb}`, {
    method: 'POST',
    headers: { ...browser, authorization: `Bearer ${key}` },
  });
  return [response.status, await response.json()];
}

describe('taking a worker out of service', () => {
  it('is asked of the worker itself, as is taking it back', async () => {
    router = await new Harness().start();
    const [status, body] = await set('w0', 'drain');
    expect([status, ClusterAdmission.parse(body)]).toMatchObject([
      200,
      { worker: 'w0', open: false, running: 0, waiting: 0 },
    ]);
    expect(await set('w0', 'resume')).toMatchObject([200, { open: true }]);
    expect(router.workers[0]?.admits).toEqual([false, true]);
  });

  it('says that there is no such worker, or that it does not answer', async () => {
    router = await new Harness().start();
    expect(await set('nobody', 'drain')).toMatchObject([404, { error: { code: 'not_found' } }]);
    router.workers[0]?.kill();
    expect(await set('w0', 'drain')).toMatchObject([503, { error: { code: 'worker_lost' } }]);
  });

  it('wants an admin’s key where keys are set', async () => {
    router = await new Harness().start({ apiKeys: ['key-1'], adminApiKeys: ['key-2'] });
    const statuses = [];
    for (const verb of ['drain', 'resume'] as const)
      for (const key of ['', 'key-1', 'key-2']) statuses.push((await set('w0', verb, key))[0]);
    expect(statuses).toEqual([401, 403, 200, 401, 403, 200]);
  });

  it('is refused to pages of other origins, whose browsers send it without asking first', async () => {
    router = await new Harness().start({ corsOrigins: ['https://a.example'] });
    const statusFor = async (browser: Record<string, string>) => (await set('w0', 'drain', '', browser))[0];
    const foreign = [
      { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
      { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
    ];
    for (const browser of foreign) expect(await statusFor(browser)).toBe(403);
    expect(router.workers[0]?.admits).toEqual([]);
    const own = [
      { origin: router.url },
      // behind a proxy that puts another host in
      { origin: 'https://public.example', 'sec-fetch-site': 'same-origin' },
      { origin: 'https://a.example', 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'none' },
    ];
    for (const browser of own) expect(await statusFor(browser)).toBe(200);
  });
});
