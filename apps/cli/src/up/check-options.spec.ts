import { Command } from 'commander';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { checkOptions } from './check-options.js';
import { type UpOptions, upOptions } from './options.js';

async function check(args: readonly string[], fromEnvironment: (keyof UpOptions)[] = []): Promise<void> {
  const options = upOptions(new Command('up'), {})
    .parse(['--port', '0', ...args], { from: 'user' })
    .opts<UpOptions>();
  await checkOptions(options, (option) => fromEnvironment.includes(option));
}

describe('what up is told wrongly', () => {
  it.each([
    [['--redis', 'sekret1'], '--redis: a URL such as redis://127.0.0.1:6379, or rediss:// for TLS'],
    [['--api-key', 'long enough', '--api-key', 'sekret1'], '--api-key: keys are printable ASCII characters'],
    [['--api-key', 'sekret1'], '--api-key: keys have at least 8 characters'],
    [['--host', '999.1.1.1'], '--host: there is no host "999.1.1.1"'],
    [['--port', '6000'], '--port: browsers and many other clients connect to no port 6000'],
    [['--host', '192.0.2.1'], '--host: cannot listen on 192.0.2.1 (EADDRNOTAVAIL)'],
  ])('is named by its flag: %j', async (args, message) => {
    const error: unknown = await check(args).catch((caught: unknown) => caught);
    expect(String(error)).toContain(message);
    expect(String(error)).not.toContain('sekret1');
  });

  it('is named by its variable where that says it', async () => {
    await expect(check(['--redis', 'x'], ['redis'])).rejects.toThrow('KVCAPSULE_REDIS: a URL');
    await expect(check(['--host', '999.1.1.1'], ['host'])).rejects.toThrow(
      'KVCAPSULE_HOST: there is no host',
    );
  });

  it('is a port that is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await expect(check(['--port', String(port)])).rejects.toThrow(
      `--port: port ${String(port)} on 127.0.0.1 is taken`,
    );
    server.close();
  });

  it('is nothing where all is well', async () => {
    await check(['--redis', 'redis://h', '--api-key', 'long-enough', '--host', '127.0.0.1']);
  });
});
