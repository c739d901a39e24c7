import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);

describe('a server on this machine', () => {
  let server: Server;
  let url: string;
  beforeAll(async () => {
    server = createServer((_, response) => response.end('here')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`;
  });
  afterAll(() => server.close());

  /** Nothing listens on the discard port: whatever goes there fails. */
  const DEAD = 'http://127.0.0.1:9';
  const names = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'];
  const get = (code: string) =>
    run(process.execPath, ['--input-type=module', '-e', code], {
      env: {
        PATH: process.env['PATH'],
        NODE_USE_ENV_PROXY: '1',
        ...Object.fromEntries(names.map((name) => [name, DEAD])),
      },
    });

  it('is asked without the proxies that the environment names', async () => {
    const module = new URL('../../dist/http/index.js', import.meta.url).href;
    const code = `import { serverFetch } from ${JSON.stringify(module)};
      process.stdout.write(await (await serverFetch(${JSON.stringify(url)})).text());
      process.exit();`;
    expect((await get(code)).stdout).toBe('here');
  });

  it('would not be reached by Node’s own fetch then', async () => {
    await expect(get(`await fetch(${JSON.stringify(url)})`)).rejects.toThrow();
  });
});
