import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './harness.js';

const run = promisify(execFile);

/** Docker's client where there is an engine: tools/container-engine.mjs finds or starts one for `./kvcapsule test`. */
export const DOCKER = process.env['KVCAPSULE_TEST_DOCKER'];

export async function docker(...args: readonly string[]): Promise<string> {
  if (DOCKER === undefined) throw new Error('there is no container engine');
  const env = { ...process.env, DOCKER_BUILDKIT: '1' };
  const { stdout } = await run(DOCKER, args, { env, maxBuffer: 1 << 26 });
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

/** Images of the release, on a base that no registry is asked for. */
export async function buildImages(archive: string): Promise<Images> {
  const scratch = mkdtempSync(join(tmpdir(), 'kvc-base-'));
  const tar = join(scratch, 'base.tar');
  await run('tar', ['-cf', tar, '-C', await bareRoot(), '--exclude=./dev/*', '--exclude=./proc/*', '.']);
  await docker('import', tar, 'kvcapsule-test-base:latest');
  rmSync(scratch, { recursive: true });
  const build = async (target: keyof Images): Promise<string> => {
    const tag = `kvcapsule/${target}:test`;
    await docker(
      ...['build', '--quiet', '--network', 'host', '--build-arg', 'BASE=kvcapsule-test-base:latest'],
      ...['--build-arg', 'VERSION=0.1.0-test', '-f', join(ROOT, 'deploy/images/Dockerfile')],
      ...['--target', target, '-t', tag, dirname(archive)],
    );
    return tag;
  };
  return { router: await build('router'), worker: await build('worker') };
}
