import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Harness } from '../testing/harness.js';

let router: Harness;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvc-console-'));
  writeFileSync(join(folder, 'index.html'), '<p>console</p>');
  mkdirSync(join(folder, 'assets'));
  writeFileSync(join(folder, 'assets', 'index-abc.js'), 'let a;');
});
afterEach(async () => {
  await router.stop();
  rmSync(folder, { recursive: true });
});

const get = (path: string, accept: string) => fetch(`${router.url}${path}`, { headers: { accept } });
const HTML = 'text/html,application/xhtml+xml,*/*;q=0.8';

describe('the console', () => {
  it('is for browsers, also where keys are asked for; programs get where to find what', async () => {
    router = await new Harness().start({ consoleFolder: folder, apiKeys: ['sk-1'] });
    const page = await get('/', HTML);
    expect([page.status, await page.text()]).toEqual([200, '<p>console</p>']);
    expect(page.headers.get('cache-control')).toBe('no-cache');
    for (const accept of ['*/*', 'application/json', 'text/html;q=0', 'application/json, text/html;q=0.1']) {
      const landing = await get('/', accept);
      expect(await landing.json()).toMatchObject({ name: 'kvcapsule', cluster: '/v1/cluster' });
      expect(landing.headers.get('vary')).toBe('accept');
    }
  });

  it('may run no script of anybody else and be framed by nobody', async () => {
    router = await new Harness().start({ consoleFolder: folder });
    for (const path of ['/', '/assets/index-abc.js']) {
      const { headers } = await get(path, HTML);
      const policy = headers.get('content-security-policy');
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe');
      expect([headers.get('x-content-type-options'), headers.get('referrer-policy')]).toEqual([
        ...['nosniff', 'no-referrer'],
      ]);
    }
  });

  it('has assets that are kept for a year, and nothing beside them', async () => {
    router = await new Harness().start({ consoleFolder: folder });
    const asset = await get('/assets/index-abc.js', '*/*');
    expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
    expect(asset.headers.get('content-type')).toContain('javascript');
    for (const path of [
      '/assets/other.js',
      '/assets/',
      '/assets/..%2findex.html',
      '/assets/%2e%2e/index.html',
    ]) {
      const missing = await get(path, HTML);
      expect([missing.status, await missing.json()]).toMatchObject([404, { error: { code: 'not_found' } }]);
    }
    const posted = await fetch(`${router.url}/assets/index-abc.js`, { method: 'POST' });
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  it.each([
    ['range', 'bytes=99-', 200],
    ['range', 'bytes=5-2', 200],
    ['if-match', '"x"', 400],
    ['if-unmodified-since', 'Mon, 01 Jan 2001 00:00:00 GMT', 400],
    ['if-modified-since', 'nonsense', 200],
  ])('has no fault of its own where a header asks for what is not: %s: %s', async (name, value, status) => {
    router = await new Harness().start({ consoleFolder: folder });
    const asset = await fetch(`${router.url}/assets/index-abc.js`, { headers: { [name]: value } });
    expect(asset.status).toBe(status);
    if (status === 400) expect(await asset.json()).toMatchObject({ error: { code: 'invalid_request' } });
  });

  it.each([
    ['switched off', undefined],
    ['not built', '/nowhere'],
  ])('is not there where it is %s', async (_, at) => {
    router = await new Harness().start({ consoleFolder: at });
    expect(await (await get('/', HTML)).json()).toMatchObject({ name: 'kvcapsule' });
    expect((await get('/assets/index-abc.js', '*/*')).status).toBe(404);
  });
});
