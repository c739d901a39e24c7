import { describe, expect, it } from 'vitest';
import { Cluster, until } from './harness.js';

describe('a cluster that is stopped', () => {
  it('leaves no process: of those that nobody keeps, that stand still, or that are still starting', async () => {
    const cluster = await Cluster.start();
    const unkept = await cluster.startWorker(1);
    const still = await cluster.startWorker(2);
    still.process.kill('SIGSTOP');
    const starting = cluster.startWorker(3);
    const failure = starting.then(
      () => undefined,
      (error: unknown) => error,
    );
    await cluster.stop();
    expect(await failure).toMatchObject({ message: expect.stringMatching('did not start') as string });
    const parts = [cluster.router, ...cluster.workers, unkept, still];
    await until(
      () => parts.every(({ process }) => process.exitCode !== null || process.signalCode !== null),
      1_000,
    );
    await expect(cluster.startWorker(4)).rejects.toThrow('the test has ended');
  }, 120_000);
});
