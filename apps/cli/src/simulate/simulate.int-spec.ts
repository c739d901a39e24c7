import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRedisClient, RedisRegistry } from '@kvcapsule/platform/redis';
import { startRedis } from '@kvcapsule/platform/redis-server';
import { workersOf } from '@kvcapsule/testing/ports';
import { afterEach, describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');

class Simulation {
  output = '';
  readonly process: ChildProcess;

  constructor(...args: readonly string[]) {
    this.process = spawn(process.execPath, [MAIN, 'simulate', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.process.stdout, this.process.stderr])
      stream?.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  async shows(text: RegExp): Promise<string> {
    while (!text.test(this.output)) {
      if (this.process.exitCode !== null) throw new Error(`it ended: ${this.output}`);
      await sleep(50);
    }
    return text.exec(this.output)?.[1] ?? '';
  }

  async ends(): Promise<number | null> {
    if (this.process.exitCode === null) await once(this.process, 'close');
    return this.process.exitCode;
  }
}

async function idsAt(url: string): Promise<string[]> {
  const client = await createRedisClient(url);
  const workers = await workersOf(new RedisRegistry(client));
  client.disconnect();
  return workers.map(({ workerId }) => workerId);
}

describe('simulate', () => {
  let simulation: Simulation | undefined;
  afterEach(async () => {
    simulation?.process.kill('SIGTERM');
    await simulation?.ends();
  });

  it('registers workers in a Redis of its own and says where it is', async () => {
    simulation = new Simulation('--workers', '3');
    const url = await simulation.shows(/KVCAPSULE_REDIS=(\S+)/);
    expect(await idsAt(url)).toEqual(['sim-0', 'sim-1', 'sim-2']);
    simulation.process.kill('SIGTERM');
    expect(await simulation.ends()).toBe(0);
    expect(simulation.output).toContain('0 requests ended');
  });

  it('joins a Redis and leaves it as it was', async () => {
    const redis = await startRedis();
    try {
      simulation = new Simulation('--workers', '2', '--redis', redis.url, '--id-prefix', 'other-');
      await simulation.shows(/(Stop: Ctrl-C)/);
      expect(await idsAt(redis.url)).toEqual(['other-0', 'other-1']);
      simulation.process.kill('SIGINT');
      expect(await simulation.ends()).toBe(0);
      expect(await idsAt(redis.url)).toEqual([]);
    } finally {
      await redis.stop();
    }
  });

  it('says what is wrong with the file of an engine', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kvc-simulate-'));
    const file = join(folder, 'engine.json');
    writeFileSync(file, '{"costs": 1}');
    simulation = new Simulation('--engine', file);
    expect(await simulation.ends()).toBe(1);
    expect(simulation.output).toMatch(/engine\.json: \S+: .*\(CONFIG_INVALID\)/);
    rmSync(folder, { recursive: true });
  });
});
