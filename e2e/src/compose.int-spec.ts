import { execFile, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '@kvcapsule/testing/redis';
import { composeProgram } from './containers.js';
import { ROOT, until } from './harness.js';

const run = promisify(execFile);
const FOLDER = join(ROOT, 'deploy/compose');
const FILE = join(FOLDER, 'compose.yaml');
const ENV = { KVCAPSULE_API_KEYS: 'a-key-of-tests', REDIS_PASSWORD: 'of-the-tests' };

interface Service {
  image: string;
  user: string;
  read_only: boolean;
  cap_drop: string[];
  security_opt: string[];
  ports?: string[];
  networks: Record<string, null>;
  volumes?: string[];
  tmpfs?: string[];
  environment?: Record<string, string>;
  entrypoint?: string[];
  command?: string[];
  healthcheck?: { test: string[] };
  deploy: { resources: { limits: { cpus: number; memory: string } } };
  stop_grace_period?: string;
}

interface Composed {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean }>;
}

/** The file as docker-compose understands it. */
async function composed(env: Record<string, string>, ...options: string[]): Promise<string> {
  const program = await composeProgram();
  const args = ['-f', FILE, ...options, 'config'];
  const path = process.env['PATH'] ?? '';
  // from another folder: what the file names lies beside it
  const { stdout } = await run(program, args, { env: { PATH: path, ...env }, cwd: tmpdir() });
  return stdout;
}

/** As a container has it: in the output of `config` a dollar stands twice. */
const single = (text = '') => text.replaceAll('$$', '$');

let all: Composed;
beforeAll(async () => {
  all = parse(await composed(ENV, '--profile', 'observe')) as Composed;
}, 120_000);

const services = (): [string, Service][] => Object.entries(all.services);

describe('compose.yaml', () => {
  it('has a router, two workers and Redis, and more on request', async () => {
    const own = parse(await composed(ENV)) as Composed;
    expect(Object.keys(all.services).sort()).toEqual([
      'grafana',
      'prometheus',
      'redis',
      'router',
      'worker-0',
      'worker-1',
    ]);
    const always = Object.keys(own.services).filter((name) => !('profiles' in own.services[name]!));
    expect(always.sort()).toEqual(['redis', 'router', 'worker-0', 'worker-1']);
  });

  it.each(Object.keys(ENV))('does not start without %s, and says so', async (name) => {
    await expect(composed({ ...ENV, [name]: '' })).rejects.toThrow('set it in .env');
  });

  it('holds no secret', () => {
    const text = readFileSync(FILE, 'utf8');
    for (const [, value] of text.matchAll(/(?:PASSWORD|KEYS|AUTH): (.*)/g))
      expect(value).toMatch(/^\$\{\w+:[?-]/);
    expect(text).not.toMatch(/redis:\/\/:[^$]/);
  });

  it('has secrets as they stand in quotes in .env, whatever is in them', async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'kvc-env-')), '.env');
    const [keys, password] = ['first-$KEY,second"key#', 'pa$$ w0rd #1 "x" @/:%41'];
    writeFileSync(file, `KVCAPSULE_API_KEYS='${keys}'\nREDIS_PASSWORD='${password}'\n`);
    const { services: all } = parse(await composed({}, '--env-file', file)) as Composed;
    rmSync(join(file, '..'), { recursive: true });
    expect(single(all['router']?.environment?.['KVCAPSULE_API_KEYS'])).toBe(keys);
    for (const name of ['router', 'worker-0', 'worker-1'])
      expect(single(all[name]?.environment?.['REDIS_PASSWORD']), name).toBe(password);
    expect(single(all['redis']?.environment?.['REDISCLI_AUTH'])).toBe(password);
  });

  it.each(['letters1', 'pa$$ w0rd #1', `"it's" \\ \\" \\x41`, '@/:?%41&'])(
    'gives Redis and the parts the password %s as it is',
    async (password) => {
      const folder = mkdtempSync(join(tmpdir(), 'kvc-password-'));
      const file = join(folder, 'password');
      const port = String(await freePort());
      const { stdout: server } = await run('sh', ['-c', 'command -v redis-server']);
      writeFileSync(
        join(folder, 'redis-server'),
        `#!/bin/sh\nexec ${server.trim()} "$1" --port ${port} --dir ${folder}\n`,
        { mode: 0o755 },
      );
      writeFileSync(join(folder, 'kvcapsule'), '#!/bin/sh\n', { mode: 0o755 });
      const here = (text: string) =>
        single(text)
          .replaceAll('/tmp/redis.conf', join(folder, 'redis.conf'))
          .replace('/opt/kvcapsule/kvcapsule', join(folder, 'kvcapsule'));
      const path = `${folder}:${process.env['PATH'] ?? ''}`;
      const { redis, router } = all.services;
      const [program = '', ...options] = [...redis!.entrypoint!, ...redis!.command!].map(here);
      const child = spawn(program, options, {
        env: { PATH: path, REDISCLI_AUTH: password },
        stdio: 'ignore',
      });
      try {
        const [shell = '', ...rest] = router!.entrypoint!.map(here);
        const env = { PATH: path, REDIS_PASSWORD: password, KVCAPSULE_REDIS_PASSWORD_FILE: file };
        await run(shell, rest, { env });
        expect(readFileSync(file, 'utf8')).toBe(password);
        expect(statSync(file).mode & 0o077).toBe(0);
        const redisPing = async () => {
          const ask = ['-p', port, 'ping'];
          const { stdout } = await run('redis-cli', ask, { env: { PATH: path, REDISCLI_AUTH: password } });
          return stdout.trim();
        };
        await until(async () => (await redisPing().catch(() => '')) === 'PONG', 20_000);
        const { stdout } = await run('redis-cli', ['-p', port, 'ping'], { env: { PATH: path } });
        expect(stdout).toContain('NOAUTH');
      } finally {
        child.kill('SIGKILL');
        rmSync(folder, { recursive: true, force: true });
      }
    },
    60_000,
  );

  it('gives no container rights, a root to write to, or all of the machine', () => {
    for (const [name, service] of services()) {
      expect(service, name).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
      });
      expect(service.user, name).toMatch(/^[1-9]\d*:\d+$/);
      expect(service.deploy.resources.limits, name).toMatchObject({ cpus: expect.any(Number) as number });
      expect(service.deploy.resources.limits.memory, name).toMatch(/^\d+[mg]$/);
      expect(service.image, name).toMatch(/:v?\d[\w.-]*$/);
      for (const path of service.tmpfs ?? []) expect(path, name).toMatch(/noexec,nosuid,size=\d+m$/);
    }
  });

  it('lets the machine alone in, to the router and to Grafana, and nobody out but these', () => {
    const open = services().filter(([, { ports }]) => ports);
    expect(open.map(([name]) => name).sort()).toEqual(['grafana', 'router']);
    for (const [name, { ports }] of open)
      expect(ports, name).toEqual([expect.stringMatching(/^127\.0\.0\.1:/)]);
    expect(all.networks['inside']).toMatchObject({ internal: true });
    const outside = services().filter(([, { networks }]) => 'outside' in networks);
    expect(outside.map(([name]) => name).sort()).toEqual(['grafana', 'router']);
  });

  it('names images of this version, and the users and ports that they have', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    const dockerfile = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
    for (const [name, part] of [
      ['router', 'router'],
      ['worker-0', 'worker'],
      ['worker-1', 'worker'],
    ] as const) {
      const { image, user, environment } = all.services[name]!;
      expect(image).toBe(`kvcapsule/${part}:${version}`);
      expect(dockerfile).toContain(`USER ${user}\n`);
      if (part === 'worker')
        expect(environment).toMatchObject({ KVCAPSULE_ID: name, KVCAPSULE_ADVERTISE: `${name}:7001` });
    }
    expect(dockerfile).toMatch(/^EXPOSE 8000$/m);
    expect(dockerfile).toMatch(/^EXPOSE 7001 7002$/m);
  });

  it('mounts what there is', () => {
    const sources = services()
      .flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0]!))
      .filter((source) => source.startsWith('/'));
    expect(sources.length).toBeGreaterThan(3);
    expect(sources.filter((source) => !existsSync(source))).toEqual([]);
  });

  it('has Prometheus scrape as elsewhere, by the router’s name', () => {
    interface Scrapes {
      rule_files: string[];
      scrape_configs: { http_sd_configs: { url: string }[] }[];
    }
    const read = (file: string) => parse(readFileSync(join(ROOT, file), 'utf8')) as Scrapes;
    const ours = read('deploy/compose/prometheus.yml');
    const generated = read('deploy/observability/prometheus.yml');
    expect(ours.rule_files).toEqual(generated.rule_files);
    const renamed = JSON.stringify(generated.scrape_configs).replaceAll('127.0.0.1:8000', 'router:8000');
    expect(JSON.stringify(ours.scrape_configs)).toBe(renamed);
  });

  it('asks in env.example for all that has no default', () => {
    const asked = readFileSync(join(FOLDER, 'env.example'), 'utf8').matchAll(/^(\w+)=$/gm);
    expect([...asked].map(([, name]) => name)).toEqual(expect.arrayContaining(Object.keys(ENV)));
  });
});

describe('Dockerfile', () => {
  const lines = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => /^[A-Z]+ /.test(line));
  const of = (keyword: string) => lines.filter((line) => line.startsWith(`${keyword} `));

  it('begins from one base that can be named, pinned to a day', () => {
    expect(of('ARG')[0]).toMatch(/^ARG BASE=debian:bookworm-\d{8}-slim$/);
    const bases = of('FROM').map((line) => line.split(' ')[1]);
    expect(new Set(bases)).toEqual(new Set(['${BASE}', 'base']));
  });

  it('fetches and installs nothing', () => {
    expect(of('ADD')).toEqual([]);
    for (const line of of('RUN')) expect(line).not.toMatch(/apt|npm|curl|wget|https?:/);
  });

  it('runs by its number as nobody in particular, without a shell around the program', () => {
    expect(of('USER')).toEqual(['USER 10001:10001']);
    for (const line of [...of('ENTRYPOINT'), ...lines.filter((line) => line.includes(' CMD '))])
      expect(line).toMatch(/\[".*"\]$/);
    expect(of('HEALTHCHECK')).toHaveLength(2);
  });

  it('copies what changes least first', () => {
    const copied = of('COPY').map((line) => line.split(' ')[2]!.replace('/kvcapsule/', ''));
    expect(copied.indexOf('bin')).toBeLessThan(copied.indexOf('node_modules'));
    expect(copied.indexOf('node_modules')).toBeLessThan(copied.indexOf('libs'));
    expect(copied.indexOf('libs')).toBeLessThan(copied.indexOf('apps'));
  });
});

describe('the model of an image', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kvc-launcher-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** What a part would read, launched in an image with these variables. */
  async function modelWith(env: Record<string, string>): Promise<string> {
    mkdirSync(join(folder, 'bin'), { recursive: true });
    copyFileSync(join(ROOT, 'tools/release/launcher.sh'), join(folder, 'kvcapsule'));
    writeFileSync(join(folder, 'bin/node'), '#!/bin/sh\necho "$KVCAPSULE_MODEL"\n', { mode: 0o755 });
    const given = { PATH: process.env['PATH'] ?? '', IMAGE_MODEL: '/models/emoji-vlm', ...env };
    const { stdout } = await run('sh', [join(folder, 'kvcapsule'), 'serve', 'router'], { env: given });
    return stdout.trim();
  }

  it.each([
    [{}, '/models/emoji-vlm'],
    [{ KVCAPSULE_MODEL: '' }, '/models/emoji-vlm'],
    [{ KVCAPSULE_MODEL: '/models/mine' }, '/models/mine'],
    [{ KVCAPSULE_MODELS: '/models.json' }, ''],
    [{ KVCAPSULE_MODEL: '/models/mine', KVCAPSULE_MODELS: '/models.json' }, '/models/mine'],
    [{ KVCAPSULE_CONFIG: '/router.yaml' }, ''],
  ])('stands in where settings name none: %j', async (env, model) => {
    expect(await modelWith(env)).toBe(model);
  });

  it('is in it, and no setting of its own beside what settings name', () => {
    const dockerfile = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
    expect(dockerfile).toContain('IMAGE_MODEL=/models/emoji-vlm');
    expect(dockerfile).not.toContain('KVCAPSULE_MODEL');
  });
});
