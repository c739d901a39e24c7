import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { composeCases } from './compose-cases.js';
import { bareRoot, buildImages, DOCKER, docker, makeRelease, type Images } from './containers.js';
import { ROOT } from './harness.js';
import { keep, rollingRestart } from './rolling-restart.js';

const run = promisify(execFile);
/** What a system has to bring: the C and C++ libraries, and what the loader itself is. */
const FROM_THE_SYSTEM = /^(ld-linux-x86-64|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)\.so\.\d+$/;
/** Of Debian 12's glibc 2.36 nothing younger than this is used, so systems since 2021 will do. */
const GLIBC_AT_MOST = 34;

/** In containers of which every one is replaced meanwhile, twice. */
const full = process.env['KVCAPSULE_TEST_FULL'] === '1';
const [STREAMS, WORKERS] = [2_000, 3];

const scratch = mkdtempSync(join(tmpdir(), 'kvc-release-'));
let archive: string;
/** What the archive holds, unpacked. */
let release: string;

beforeAll(async () => {
  archive = await makeRelease(join(scratch, 'first'));
  await run('tar', ['-xzf', archive, '-C', scratch]);
  release = join(scratch, basename(archive, '.tar.gz'));
}, 600_000);
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

// to make it takes half a minute of a core
it.runIf(full)(
  'is the same bytes when it is made again',
  async () => {
    const again = await makeRelease(join(scratch, 'second'));
    const sums = [archive, again].map((path) => readFileSync(`${path}.sha256`, 'utf8'));
    expect(sums[1]).toBe(sums[0]);
  },
  600_000,
);

it('has the checksums of its archive and of each file in it', async () => {
  await run('sha256sum', ['--strict', '-c', `${basename(archive)}.sha256`], { cwd: join(archive, '..') });
  await run('sha256sum', ['--strict', '--quiet', '-c', 'SHA256SUMS'], { cwd: release });
  const summed = readFileSync(join(release, 'SHA256SUMS'), 'utf8').trim().split('\n').length;
  const { stdout } = await run('find', [release, '-type', 'f', '-printf', '.']);
  expect(summed).toBe(stdout.length - 1);
});

it('belongs to nobody in particular, and nobody but its owner may change it', async () => {
  const { stdout } = await run('tar', ['-tvzf', archive, '--numeric-owner'], { maxBuffer: 1 << 26 });
  const kinds = new Set(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/\s+/, 4).slice(0, 2).join(' ')),
  );
  expect([...kinds].sort()).toEqual(['-rw-r--r-- 0/0', '-rwxr-xr-x 0/0', 'lrwxrwxrwx 0/0']);
});

it.each(['bin/node', 'native/kvcapsule.node', 'native/libhwy.so.1'])(
  '%s needs nothing of the system but the libraries of C and C++, of any since 2021',
  async (file) => {
    const path = join(release, file);
    const { stdout: needed } = await run('objdump', ['-p', path]);
    const libraries = [...needed.matchAll(/NEEDED\s+(\S+)/g)].map(([, name]) => name!);
    expect(
      libraries.filter((name) => !FROM_THE_SYSTEM.test(name) && !existsSync(join(path, '..', name))),
    ).toEqual([]);
    const versions = [...needed.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    expect(Math.max(...versions)).toBeLessThanOrEqual(GLIBC_AT_MOST);
  },
);

it('names no folder of the machine that made it', async () => {
  // grep ends with 1 when it finds nothing
  await expect(run('grep', ['-rlF', ROOT, release])).rejects.toMatchObject({ code: 1, stdout: '' });
});

it('has the licences of what is no npm package', () => {
  const said = (name: string) => readFileSync(join(release, 'licenses', name), 'utf8');
  expect(said('node')).toMatch(/^Node\.js is licensed for use as follows/);
  expect(said('ggml')).toContain('MIT License');
});

it('has a bill of materials that lists each package in it, and its native parts', () => {
  const bill = JSON.parse(readFileSync(join(release, 'sbom.cdx.json'), 'utf8')) as {
    bomFormat: string;
    components: { purl: string; name: string; licenses?: unknown[] }[];
  };
  expect(bill.bomFormat).toBe('CycloneDX');
  const listed = new Set(bill.components.map(({ purl }) => decodeURIComponent(purl)));
  const packages = globSync('node_modules/{*,@*/*}/package.json', { cwd: release }).map((path) => {
    const { name, version } = JSON.parse(readFileSync(join(release, path), 'utf8')) as Record<string, string>;
    return `pkg:npm/${name!}@${version!}`;
  });
  expect(packages.length).toBeGreaterThan(100);
  expect(packages.filter((purl) => !listed.has(purl))).toEqual([]);
  const names = bill.components.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(['node', 'ggml', 'libhwy1', 'libeigen3-dev', 'nlohmann-json3-dev']),
  );
  for (const name of ['typescript', 'vitest', 'nx', 'eslint']) expect(names).not.toContain(name);
});

/** In a root of its own where that may be had, else with nothing in the environment. */
async function inBareRoot(script: string): Promise<string> {
  if (process.getuid?.() !== 0) return await output('sh', ['-c', `cd '${release}'; ${script}`]);
  const root = await bareRoot();
  const home = mkdtempSync(join(root, 'opt', 'release-'));
  try {
    await run('tar', ['-xzf', archive, '-C', home, '--strip-components=1']);
    const inside = `cd /opt/${basename(home)}; ${script}`;
    const mounts = `mount --bind /dev '${root}/dev' && mount -t proc proc '${root}/proc'`;
    const enter = `${mounts} && exec chroot '${root}' /bin/sh -c "$1"`;
    return await output('unshare', [
      ...['--mount', '--pid', '--fork', '--kill-child'],
      'sh',
      '-c',
      enter,
      'sh',
      inside,
    ]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function output(command: string, args: string[]): Promise<string> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp' };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const text = (await child.stdout.toArray()).join('');
  if (child.exitCode === null) await once(child, 'exit');
  return text;
}

it('serves the demo where nothing is installed but Redis', async () => {
  const said = await inBareRoot(`
    ./kvcapsule up --port 18237 >/tmp/up.log 2>&1 &
    tries=0
    until ./kvcapsule ask --url http://127.0.0.1:18237 samples/bird-microscope.png "What is at D2?" 2>/dev/null; do
      tries=$((tries + 1))
      [ $tries -lt 60 ] || { cat /tmp/up.log; break; }
      sleep 0.5
    done
    kill -TERM $!
    wait $!
    echo "ended with $?"`);
  expect(said).toMatch(/^microscope\./);
  expect(said).toMatch(/ended with 0\n$/);
}, 300_000);

/** Looks at all that an image has of the release, from inside. */
const LOOK_AROUND = `
  const { lstatSync, readdirSync } = require('node:fs');
  const all = ['/opt/kvcapsule', '/models'].flatMap((top) => [
    top, ...readdirSync(top, { recursive: true }).map((name) => top + '/' + name)]);
  const own = all.filter((path) => { const at = lstatSync(path); return at.uid !== 0 || (!at.isSymbolicLink() && at.mode & 0o022); });
  const paths = process.env.PATH.split(':').flatMap((dir) => { try { return readdirSync(dir); } catch { return []; } });
  console.log(JSON.stringify({ uid: process.getuid(), gid: process.getgid(), own, tools: paths.filter((name) =>
    /^(gcc|g\\+\\+|cc|c\\+\\+|cmake|ninja|make|npm|npx|tsc)$/.test(name)) }));`;

const grounds = DOCKER === undefined ? 'no container engine runs here' : 'in containers';
describe(`images, ${grounds}`, () => {
  if (DOCKER === undefined) {
    it('have in them what the release has', () => {
      const dockerfile = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
      const copied = [...dockerfile.matchAll(/\/kvcapsule\/([\w./-]+)(?= )/g)].map(([, path]) => path!);
      expect(copied.length).toBeGreaterThan(8);
      expect(copied.filter((path) => !existsSync(join(release, path)))).toEqual([]);
    });
    return;
  }
  let images: Images;
  let upgraded: Images;
  beforeAll(async () => {
    images = await buildImages(archive, '0.1.0-test');
    if (full) upgraded = await buildImages(archive, '0.1.1-test');
  }, 600_000);

  it.each(['router', 'worker'] as const)(
    '%s says what it is, and runs as a user with no rights',
    async (target) => {
      const { Config: config } = (
        JSON.parse(await docker('inspect', images[target])) as {
          Config: { User: string; Entrypoint: string[]; Labels: Record<string, string>; Healthcheck: object };
        }[]
      )[0]!;
      expect(config).toMatchObject({
        User: '10001:10001',
        Entrypoint: ['/opt/kvcapsule/kvcapsule', 'serve', target],
      });
      expect(config.Labels).toMatchObject({
        'org.opencontainers.image.title': `kvcapsule/${target}`,
        'org.opencontainers.image.version': '0.1.0-test',
        'org.opencontainers.image.licenses': 'Apache-2.0',
      });
      expect(config.Healthcheck).toBeDefined();
      const seen = await docker(
        'run',
        '--rm',
        '--network',
        'none',
        '--entrypoint',
        'node',
        images[target],
        '-e',
        LOOK_AROUND,
      );
      expect(JSON.parse(seen)).toEqual({ uid: 10_001, gid: 10_001, own: [], tools: [] });
    },
  );

  composeCases('0.1.0-test');

  // each container that starts is a minute on a machine that does other work, and there are ten of them
  it.runIf(full)(
    `lose none of ${String(STREAMS)} streams while every container is upgraded, and rolled back`,
    async () => {
      const outcome = await rollingRestart({
        from: images,
        to: upgraded,
        workers: WORKERS,
        streams: STREAMS,
      });
      keep(outcome);
      expect(outcome.lost).toEqual([]);
      const replaced = 2 * (outcome.routers + outcome.workers);
      expect(outcome.exitCodes).toEqual(Array.from({ length: replaced }, () => 0));
      expect(outcome.images).toEqual(Object.values(images).sort());
      expect(outcome.resumed).toBeGreaterThan(0);
    },
    3_600_000,
  );
});
