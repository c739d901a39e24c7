import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers';

import { common, LISTENS, READY_TIMEOUT_MS, type Runner, say } from './server.js';

/** Programs that are fetched or compiled for tests. */
const CACHE = fileURLToPath(new URL('../../../../.cache/', import.meta.url));

/** The longest wait for a container to be removed. */
const REMOVAL_MS = 15_000;

/** Set on every container of tests, so that whoever ends a run can remove what a killed test left. */
const LABELS = { 'org.kvcapsule.test': 'store' };

/**
 * Runs a server in a container of this image on the host's network, so that addresses are those of a process. The
 * image has `redis-server` and what that needs; folders of certificates and fetched programs are mounted where they are.
 */
export function containerRunner(image: string): Runner {
  return async (spec) => {
    const folder = mkdtempSync(join(tmpdir(), 'kvcapsule-store-'));
    const file = join(folder, 'server.conf');
    writeFileSync(file, [...common(spec, folder), ...spec.lines, ''].join('\n'));
    const { program = 'redis-server', isSentinel = false } = spec;
    const started = new GenericContainer(image)
      .withNetworkMode('host')
      .withLabels(LABELS)
      .withUser(`${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`)
      .withBindMounts([
        { source: tmpdir(), target: tmpdir(), mode: 'rw' },
        ...mounted([CACHE]),
        // a program that was fetched is linked to this machine's libraries
        ...(spec.program === undefined ? [] : mounted(['/usr/lib'])),
      ])
      .withEnvironment({ ...spec.env })
      .withEntrypoint([program, file, ...(isSentinel ? ['--sentinel'] : [])])
      .withWaitStrategy(Wait.forLogMessage(LISTENS))
      .withStartupTimeout(READY_TIMEOUT_MS)
      .start();
    const forget = (): void => {
      rmSync(folder, { recursive: true, force: true });
    };
    const container = await started.catch((error: unknown) => {
      forget();
      throw error;
    });
    const signal = await signals(container);
    let ended: Promise<void> | undefined;
    const end = async (): Promise<void> => {
      const removed = signal('SIGKILL')
        .catch(ignoreStopped)
        .then(() => container.stop({ timeout: 0 }));
      // what an engine that is slow to answer leaves is removed by its label
      await Promise.race([removed, sleep(REMOVAL_MS, undefined, { ref: false })]);
      forget();
    };
    return {
      port: spec.port,
      say: (command) => say(spec, command),
      pause: () => signal('SIGSTOP'),
      resume: () => signal('SIGCONT'),
      kill: () => (ended ??= end()),
    };
  };
}

const mounted = (folders: readonly string[]) =>
  folders.map((folder) => ({ source: folder, target: folder, mode: 'ro' as const }));

async function signals(container: StartedTestContainer): Promise<(signal: string) => Promise<void>> {
  const { container: client } = await getContainerRuntimeClient();
  const running = client.getById(container.getId());
  return async (signal) => {
    await running.kill({ signal });
  };
}

/** Of a container that has ended by itself, such as one that was told SHUTDOWN. */
function ignoreStopped(error: unknown): void {
  if (error instanceof Error && 'statusCode' in error && error.statusCode === 409) return;
  throw error;
}
