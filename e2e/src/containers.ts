import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '@kvcapsule/testing/redis';
import { ROOT, until } from './harness.js';

const run = promisify(execFile);

/** Docker's client where there is an engine: tools/container-engine.mjs finds or starts one for `./kvcapsule test`. */
export const DOCKER = process.env['KVCAPSULE_TEST_DOCKER'];

export async function docker(...args: readonly string[]): Promise<string> {
  if (DOCKER === undefined) throw new Error('there is no container engine');
  const env = { ...process.env, DOCKER_BUILDKIT: '1' };
  const { stdout } = await run(DOCKER, args, { env, maxBuffer: 1 << 26 });
  return stdout.trim();
}

/** Debian's docker-compose: the path of a program that takes its arguments. */
export async function composeProgram(): Promise<string> {
  const { stdout } = await run('sh', [join(ROOT, 'tools/fetch-compose.sh')]);
  return stdout.trim();
}

export interface Images {
  readonly router: string;
  readonly worker: string;
}

/** Makes a release: the path of its archive, in `out`. */
export async function makeRelease(out: string): Promise<string> {
  const env = { ...process.env, SOURCE_DATE_EPOCH: '1700000000' };
  const script = join(ROOT, 'tools/release.mjs');
  const { stdout } = await run(process.execPath, [script, '--out', out], { env });
  return stdout.trim().split(/\s+/)[0]!;
}

/** Debian with next to nothing in it, as a folder. */
export async function bareRoot(): Promise<string> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'tools/bare-root.mjs')]);
  return stdout.trim();
}

/** What a script says in a root of its own where that may be had, else with nothing in the environment. */
export async function inBareRoot(folder: string, script: string): Promise<string> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp' };
  const { stdout } =
    process.getuid?.() === 0
      ? await run(process.execPath, [join(ROOT, 'tools/bare-root.mjs'), folder, script])
      : await run('sh', ['-c', script], { env, cwd: folder });
  return stdout;
}

export const BASE = 'kvcapsule-test-base:latest';
let base: Promise<void> | undefined;

/** A base that no registry is asked for, made once. */
async function importBase(): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'kvc-base-'));
  const tar = join(scratch, 'base.tar');
  // what tests unpack in the root lies under opt, and may come and go meanwhile
  const left = ['dev', 'proc', 'opt'].map((folder) => `--exclude=./${folder}/*`);
  await run('tar', ['-cf', tar, '-C', await bareRoot(), ...left, '.']);
  await docker('import', tar, BASE);
  rmSync(scratch, { recursive: true });
}

/** Images of the release, tagged and labelled with the version. */
export async function buildImages(archive: string, version: string): Promise<Images> {
  await (base ??= importBase());
  const build = async (target: keyof Images): Promise<string> => {
    const tag = `kvcapsule/${target}:${version}`;
    await docker(
      ...['build', '--quiet', '--network', 'host', '--build-arg', `BASE=${BASE}`],
      ...['--build-arg', `VERSION=${version}`, '-f', join(ROOT, 'deploy/images/Dockerfile')],
      ...['--target', target, '-t', tag, dirname(archive)],
    );
    return tag;
  };
  const [router, worker] = await Promise.all([build('router'), build('worker')]);
  return { router, worker };
}

/** A router or worker in a container. */
export interface Contained {
  readonly container: string;
  /** Where it answers: a router clients, a worker scrapes. */
  readonly url: string;
}

/** By which `tools/container-engine.mjs` finds what a test has left. */
export const LABEL = 'org.kvcapsule.test=part';
const ALONE = ['--network', 'none', '--label', LABEL];

/** The id of a container that runs on; whoever starts it removes it. */
export async function detached(image: string, options: readonly string[]): Promise<string> {
  return await docker('run', '--detach', ...ALONE, ...options, image);
}

/** Runs a container to its end. */
export async function outcomeOf(
  image: string,
  options: readonly string[],
  args: readonly string[],
): Promise<{ code: number; said: string }> {
  const all = ['run', '--rm', ...ALONE, ...options, image, ...args];
  return await run(DOCKER ?? '', all).then(
    ({ stdout, stderr }) => ({ code: 0, said: stdout + stderr }),
    ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({
      code,
      said: stdout + stderr,
    }),
  );
}

/** As compose runs them. */
const HARDENED = [
  ...['--read-only', '--tmpfs', '/tmp:rw,noexec,nosuid,size=64m'],
  ...['--cap-drop', 'ALL', '--security-opt', 'no-new-privileges'],
];
/** Of a start beside much else on two cores. */
const START_LIMIT_MS = 300_000;
const STOP_LIMIT_S = 120;

/** Parts of a cluster, each in a container of the machine's own network, where it has ports of its own. */
export class ContainedParts {
  readonly #containers: string[] = [];

  /**
   * @param redis the URL of the store
   * @param surroundings options of Docker beside the network
   */
  constructor(
    private readonly redis: string,
    private readonly surroundings: readonly string[] = HARDENED,
  ) {}

  /** Resolves when it takes requests. */
  async router(image: string): Promise<Contained> {
    const port = await freePort();
    const env = { HOST: '127.0.0.1', PORT: String(port), DRAIN_MS: '110000' };
    return await this.#start(image, env, `http://127.0.0.1:${String(port)}`, '/health/ready');
  }

  /** Resolves when it is registered. What it has not ended half a second after it is asked to end goes elsewhere. */
  async worker(image: string): Promise<Contained> {
    const [port, metricsPort] = [await freePort(), await freePort()];
    const env = {
      ...{
        LISTEN: `127.0.0.1:${String(port)}`,
        METRICS_HOST: '127.0.0.1',
        METRICS_PORT: String(metricsPort),
      },
      ...{ ID: `worker-${String(port)}`, POOL_MIB: '64', THREADS: '1', DRAIN_TIMEOUT_MS: '500' },
    };
    return await this.#start(image, env, `http://127.0.0.1:${String(metricsPort)}`, '/health');
  }

  /** Asks it to end, as an orchestrator does, and resolves to its exit code. */
  async stop({ container }: Contained): Promise<number> {
    await docker('stop', '--time', String(STOP_LIMIT_S), container);
    const code = Number(await docker('inspect', '--format', '{{.State.ExitCode}}', container));
    await docker('rm', container);
    this.#containers.splice(this.#containers.indexOf(container), 1);
    return code;
  }

  async imageOf({ container }: Contained): Promise<string> {
    return await docker('inspect', '--format', '{{.Config.Image}}', container);
  }

  async end(): Promise<void> {
    if (this.#containers.length > 0) await docker('rm', '--force', ...this.#containers);
  }

  async #start(
    image: string,
    env: Readonly<Record<string, string>>,
    url: string,
    health: string,
  ): Promise<Contained> {
    const variables = Object.entries({ ...env, REDIS: this.redis }).flatMap(([name, value]) => [
      '--env',
      `KVCAPSULE_${name}=${value}`,
    ]);
    const network = ['--network', 'host', '--label', LABEL];
    const container = await docker('run', '--detach', ...network, ...this.surroundings, ...variables, image);
    this.#containers.push(container);
    const isReady = async (): Promise<boolean> => {
      if ((await fetch(`${url}${health}`).catch(() => undefined))?.status === 200) return true;
      const isRunning = await docker('inspect', '--format', '{{.State.Running}}', container);
      if (isRunning === 'false') throw new Error('it has ended');
      await sleep(500);
      return false;
    };
    await until(isReady, START_LIMIT_MS).catch(async (error: unknown) => {
      const { stdout, stderr } = await run(DOCKER ?? '', ['logs', '--tail', '20', container]);
      throw new Error(`a container of ${image} does not start: ${stdout}${stderr}`, { cause: error });
    });
    return { container, url };
  }
}
