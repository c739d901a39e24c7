import { Backoff } from '@kvcapsule/platform/processes';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RedisServer, startRedis } from '@kvcapsule/platform/redis-server';

/** The Redis that `up` brings along, started again at the same address when it dies. */
export class PrivateRedis {
  private stopping = false;
  private readonly backoff = new Backoff();

  private constructor(
    private server: RedisServer,
    private readonly say: (line: string) => void,
  ) {
    this.watch(performance.now());
  }

  static async start(say: (line: string) => void): Promise<PrivateRedis> {
    return new PrivateRedis(await startRedis(), say);
  }

  /** With its password: a secret. */
  get url(): string {
    return this.server.url;
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.server.stop();
  }

  async kill(): Promise<void> {
    this.stopping = true;
    await this.server.kill();
  }

  private watch(startedMs: number): void {
    this.server.onExit(() => {
      if (!this.stopping) void this.restart(startedMs);
    });
  }

  private async restart(startedMs: number): Promise<void> {
    const delayMs = this.backoff.nextDelayMs(performance.now() - startedMs);
    this.say(`redis stopped; it starts again in ${(delayMs / 1000).toFixed(1)} s`);
    await sleep(delayMs);
    if (this.stopping) return;
    const restartedMs = performance.now();
    try {
      this.server = await startRedis(this.server);
    } catch {
      return this.restart(restartedMs);
    }
    this.watch(restartedMs);
    if (this.stopping) await this.server.stop();
    else this.say(`redis is back (pid ${String(this.server.pid)})`);
  }
}
