import { Version } from '@cyclonedx/cyclonedx-library/Spec';
import { JsonStrictValidator } from '@cyclonedx/cyclonedx-library/Validation';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startServer } from '@kvcapsule/testing/redis';
import { composeCases } from './compose-cases.js';
import {
  bareRoot,
  buildImages,
  ContainedParts,
  detached,
  DOCKER,
  docker,
  type Images,
  inBareRoot,
  makeRelease,
  outcomeOf,
} from './containers.js';
import { ask, picture, ROOT, until } from './harness.js';
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
  [archive] = await Promise.all([makeRelease(join(scratch, 'made')), bareRoot()]);
  await run('tar', ['-xzf', archive, '-C', scratch]);
  release = join(scratch, basename(archive, '.tar.gz'));
}, 1_200_000);
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

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

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses: readonly { readonly license?: { id?: string; name?: string }; expression?: string }[];
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly externalReferences?: readonly { readonly type: string; readonly hashes?: readonly object[] }[];
  readonly components?: readonly Component[];
}

const NATIVE = ['node', 'ggml', 'libhwy1', 'libeigen3-dev', 'nlohmann-json3-dev', 'libstdc++6', 'libgcc-s1'];
const DEVELOPMENT = [
  'typescript',
  'vitest',
  'nx',
  'eslint',
  '@cyclonedx/cyclonedx-library',
  'spdx-license-list',
];

describe('its bill of materials', () => {
  let text: string;
  let components: readonly Component[];
  beforeAll(() => {
    text = readFileSync(join(release, 'sbom.cdx.json'), 'utf8');
    ({ components } = JSON.parse(text) as { components: Component[] });
  });
  const withParts = () => components.flatMap((component) => [component, ...(component.components ?? [])]);

  it('is what CycloneDX’s own schema says', async () => {
    const validator = new JsonStrictValidator(Version.v1dot5);
    expect(await validator.validate(text)).toBeNull();
    expect(await validator.validate(text.replace('"type": "platform"', '"type": "engine"'))).not.toBeNull();
  });

  it('lists each package in it, and its native parts, and nothing of development', () => {
    const listed = new Set(components.map(({ purl }) => decodeURIComponent(purl)));
    const manifests = globSync('**/node_modules/{*,@*/*}/package.json', { cwd: release });
    const packages = manifests.map((path) => {
      const { name, version } = JSON.parse(readFileSync(join(release, path), 'utf8')) as Record<
        string,
        string
      >;
      return `pkg:npm/${name!}@${version!}`;
    });
    expect(packages.length).toBeGreaterThan(100);
    expect(packages.filter((purl) => !listed.has(purl))).toEqual([]);
    const names = components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([...NATIVE, 'preact', 'uplot', '@kvcapsule/console']));
    expect(names.filter((name) => DEVELOPMENT.includes(name))).toEqual([]);
    expect(withParts().map(({ name }) => name)).toEqual(expect.arrayContaining(['v8', 'openssl', 'vips']));
  });

  it('says of each part its version, its purl and its licence, and its hash where one is known', () => {
    for (const { name, version, purl, licenses } of withParts()) {
      expect(version, name).toMatch(/./);
      expect(purl, name).toMatch(/^pkg:(npm|generic|github|deb)\/.+@.+/);
      expect(licenses, name).not.toEqual([]);
    }
    const ours = /^pkg:npm\/%40kvcapsule\//;
    const unhashed = components.filter(
      ({ purl, hashes, externalReferences = [] }) =>
        purl.startsWith('pkg:npm/') &&
        !ours.test(purl) &&
        !hashes &&
        !externalReferences.some((at) => at.hashes),
    );
    expect(unhashed.map(({ name }) => name)).toEqual([]);
    for (const [name, file] of [
      ['node', 'bin/node'],
      ['libhwy1', 'native/libhwy.so.1'],
    ] as const) {
      const content = createHash('sha256')
        .update(readFileSync(join(release, file)))
        .digest('hex');
      const { hashes } = components.find((component) => component.name === name)!;
      expect(hashes).toEqual([{ alg: 'SHA-256', content }]);
    }
  });

  it('names no licence whose text is not there', () => {
    const named = withParts()
      .filter(({ purl }) => !purl.startsWith('pkg:deb/'))
      .flatMap(({ licenses }) =>
        licenses.flatMap(({ license, expression }) => license?.id ?? expression?.match(/[\w.-]+/g) ?? []),
      )
      .filter((word) => !/^(AND|OR|WITH)$/.test(word));
    const texts = new Set(readdirSync(join(release, 'licenses/texts')));
    expect([...new Set(named)].filter((id) => !texts.has(id))).toEqual([]);
    for (const id of texts)
      expect(readFileSync(join(release, 'licenses/texts', id), 'utf8').length, id).toBeGreaterThan(100);
  });
});

it('has the licences of what is no npm package of its own', () => {
  const said = (name: string) => readFileSync(join(release, 'licenses', name), 'utf8');
  expect(said('node')).toMatch(/^Node\.js is licensed for use as follows/);
  expect(said('ggml')).toContain('MIT License');
  for (const name of NATIVE) expect(said(name).length, name).toBeGreaterThan(500);
  // what the console's pages are made of
  expect(said('console/preact/LICENSE')).toContain('The MIT License');
  expect(said('console/uplot/LICENSE')).toContain('Leon Sorokin');
});

it('holds no Python', async () => {
  const { stdout } = await run('find', [release, '(', '-name', '*.py', '-o', '-name', '*.pyc', ')']);
  expect(stdout).toBe('');
});

/** Far above what it takes, which bench/results/release-start.json has: of a machine that does much else. */
const FIRST_ANSWER_LIMIT_MS = 120_000;

it('serves the demo where nothing is installed but Redis', async () => {
  const said = await inBareRoot(
    release,
    `
    began=$(date +%s%3N)
    ./kvcapsule up --port 18237 >/tmp/up.log 2>&1 &
    until ./kvcapsule ask --url http://127.0.0.1:18237 samples/bird-microscope.png "What is at D2?" 2>/dev/null; do
      [ $(($(date +%s%3N) - began)) -lt ${String(FIRST_ANSWER_LIMIT_MS)} ] || { cat /tmp/up.log; break; }
      sleep 0.5
    done
    echo "answered after $(($(date +%s%3N) - began)) ms"
    kill -TERM $!
    wait $!
    echo "ended with $?"`,
  );
  expect(said).toMatch(/^microscope\./);
  const [, afterMs] = /^answered after (\d+) ms$/m.exec(said) ?? [];
  expect(Number(afterMs)).toBeLessThan(FIRST_ANSWER_LIMIT_MS);
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

  it('say what is amiss with what they are given, and end', async () => {
    const REDIS = ['--env', 'KVCAPSULE_REDIS=redis://127.0.0.1:1'];
    const faults: [keyof Images, string[], string[], RegExp][] = [
      ['router', [], [], /--redis or KVCAPSULE_REDIS: is required/],
      ['router', REDIS, ['--no-such-flag', '1'], /--no-such-flag: unknown flag/],
      ['router', REDIS, ['serve', 'worker'], /unexpected argument/],
      ['worker', [], [], /--redis or KVCAPSULE_REDIS: is required/],
      ['worker', REDIS, [], /--advertise HOST:PORT/],
    ];
    const outcomes = await Promise.all(
      faults.map(([target, options, args]) => outcomeOf(images[target], options, args)),
    );
    for (const [at, [, , , message]] of faults.entries()) {
      expect(outcomes[at]!.said).toMatch(message);
      expect(outcomes[at]!.code).toBe(1);
    }
  }, 120_000);

  it('serve as any user, on a root that is read only with no /tmp, in no time zone or language', async () => {
    const surroundings = [
      ...['--user', '1000650000:0', '--read-only', '--cap-drop', 'ALL'],
      ...['--env', 'TZ=Mars/Olympus', '--env', 'LANG=xx_XX.UTF-8', '--env', 'LC_ALL=xx_XX.UTF-8'],
    ];
    const store = await startServer({ password: 'of-the-tests' });
    const parts = new ContainedParts(store.url, surroundings);
    try {
      const [worker, router] = await Promise.all([parts.worker(images.worker), parts.router(images.router)]);
      const body = { model: 'emoji-vlm', max_tokens: 4, messages: [ask('What is at B2?', picture('a'))] };
      const answer = await fetch(`${router.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(answer.status).toBe(200);
      for (const [part, port] of [
        [worker, 'KVCAPSULE_METRICS_PORT'],
        [router, 'KVCAPSULE_PORT'],
      ] as const) {
        const [{ Config: config }] = JSON.parse(await docker('inspect', part.container)) as [
          { Config: { Healthcheck: { Test: string[] } } },
        ];
        const check = config.Healthcheck.Test.slice(1);
        await docker('exec', part.container, ...check);
        const elsewhere = docker('exec', '--env', `${port}=1`, part.container, ...check);
        await expect(elsewhere).rejects.toMatchObject({ code: 1 });
      }
      expect(await Promise.all([parts.stop(router), parts.stop(worker)])).toEqual([0, 0]);
    } finally {
      await parts.end();
      await store.stop();
    }
  }, 400_000);

  it('end when they are asked to before they listen for it, and reap what others leave to them', async () => {
    const deaf = join(scratch, 'deaf.js');
    writeFileSync(deaf, 'console.log("here"); setInterval(() => undefined, 1_000);');
    const main = '/opt/kvcapsule/apps/cli/dist/main.js';
    const container = await detached(images.router, ['-v', `${deaf}:${main}:ro`]);
    const inside = (script: string) => docker('exec', container, 'sh', '-c', script);
    try {
      await until(async () => (await docker('logs', container)).includes('here'), 60_000);
      const orphan = await inside('sleep 0.2 >/dev/null & echo $!');
      await until(async () => (await inside(`[ -e /proc/${orphan} ] || echo gone`)) === 'gone', 30_000);
      await docker('stop', '--time', '120', container);
      expect(await docker('inspect', '--format', '{{.State.ExitCode}}', container)).toBe('143');
    } finally {
      await docker('rm', '--force', container);
    }
  }, 200_000);

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
