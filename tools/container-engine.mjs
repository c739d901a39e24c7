// Where tests have their containers: an engine that runs already, or Debian's Docker, unpacked into the build cache
// (nothing is installed) and run beside the tests. `startEngine` says which way it went; without one, tests run the
// machine's own binaries.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const CACHE = resolve(import.meta.dirname, '../.cache/containers');
/** Docker and what it needs beside the packages that every Debian has. */
const PACKAGES = [
  ...['docker.io', 'containerd', 'runc', 'iptables', 'libip4tc2', 'libip6tc2', 'libxtables12'],
  ...['libnetfilter-conntrack3', 'libnfnetlink0', 'libnftnl11'],
];
/** Nothing is pulled, so no helper removes what is left (`end` does), and containers share the host's network. */
const TESTCONTAINERS = { TESTCONTAINERS_RYUK_DISABLED: 'true', TESTCONTAINERS_HOST_OVERRIDE: 'localhost' };
const FOLDER = 'kvcapsule-docker-';
/** Label of the containers of tests. */
const LABEL = 'org.kvcapsule.test';

/**
 * Finds or starts an engine and makes the image that `KVCAPSULE_TEST_REDIS_IMAGE` names; `KVCAPSULE_TEST_DOCKER` is the
 * client. Resolves to how, a line for the log, to the variables that tests need, and to what ends it. Never rejects: without an engine the line says why.
 */
export async function startEngine() {
  const none = (why) => ({
    how: `processes of this machine (${why})`,
    env: {},
    stop: () => Promise.resolve(),
  });
  if (process.platform !== 'linux') return none('containers on the host’s network need Linux');
  let engine;
  try {
    engine = (await runningEngine()) ?? (await debianEngine());
    const image = await redisImage(engine.docker);
    await probe(engine.docker, image);
    return {
      how: `containers (${engine.name})`,
      env: {
        ...engine.env,
        KVCAPSULE_TEST_DOCKER: engine.client,
        KVCAPSULE_TEST_REDIS_IMAGE: image,
        ...TESTCONTAINERS,
      },
      stop: () => end(engine),
    };
  } catch (error) {
    if (engine) await end(engine);
    return none(
      `no container engine: ${String(error.stderr ?? error.message)
        .trim()
        .split('\n')
        .at(-1)}`,
    );
  }
}

function dockerOf(env) {
  return async (...args) => {
    const { stdout } = await exec('docker', args, { env: { ...process.env, ...env }, timeout: 300_000 });
    return stdout.trim();
  };
}

async function versionOf(docker) {
  return `Docker ${await docker('version', '--format', '{{.Server.Version}}')}`;
}

async function runningEngine() {
  const docker = dockerOf({});
  const name = await versionOf(docker).catch(() => undefined);
  return name === undefined
    ? undefined
    : { name, docker, client: 'docker', env: {}, stop: () => Promise.resolve() };
}

/** Needs root, since its daemon does. */
async function debianEngine() {
  if (process.getuid() !== 0) throw new Error('starting one takes root');
  const root = await unpack();
  await removeLeft();
  const folder = mkdtempSync(join(tmpdir(), FOLDER));
  const socket = join(folder, 'docker.sock');
  const libraries = join(root, `usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`);
  const env = {
    PATH: [join(root, 'usr/sbin'), join(root, 'usr/bin'), process.env.PATH].join(delimiter),
    LD_LIBRARY_PATH: libraries,
    XTABLES_LIBDIR: join(libraries, 'xtables'),
    DOCKER_HOST: `unix://${socket}`,
  };
  // no bridge and no rules: containers share the host's network, and nothing of it is left behind
  const network = ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-masq=false'];
  const places = ['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'exec')];
  const listen = ['--pidfile', join(folder, 'pid'), '-H', env.DOCKER_HOST];
  const daemon = spawn(
    'setpriv',
    ['--pdeathsig', 'TERM', join(root, 'usr/sbin/dockerd'), ...places, ...listen, ...network],
    { env: { ...process.env, ...env }, stdio: 'ignore', detached: true },
  );
  const exit = once(daemon, 'exit').catch(() => undefined);
  const stop = async () => {
    daemon.kill('SIGTERM');
    await Promise.race([exit, sleep(15_000, undefined, { ref: false })]);
    await remove(folder);
  };
  const docker = dockerOf(env);
  for (let look = 0; daemon.exitCode === null && look < 300; look += 1) {
    const name = await versionOf(docker).catch(() => undefined);
    if (name !== undefined)
      return {
        name: `Debian’s ${name}, started for the tests`,
        docker,
        client: join(root, 'usr/bin/docker'),
        env: { DOCKER_HOST: env.DOCKER_HOST },
        stop,
      };
    await sleep(200);
  }
  await stop();
  throw new Error('Debian’s dockerd does not run here');
}

/** Folders of runs that were killed. */
async function removeLeft() {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(FOLDER))) {
    const pid = join(tmpdir(), name, 'pid');
    const runs = existsSync(pid) && existsSync(`/proc/${readFileSync(pid, 'utf8').trim()}`);
    if (!runs) await remove(join(tmpdir(), name));
  }
}

/** Its daemon, which has ended, leaves its own folder mounted. */
async function remove(folder) {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1]);
  for (const point of points.reverse())
    if (point?.startsWith(`${folder}/`)) await exec('umount', ['-l', point]);
  rmSync(folder, { recursive: true, force: true });
}

async function unpack() {
  const name = createHash('sha256').update(PACKAGES.join(' ')).digest('hex').slice(0, 12);
  const root = join(CACHE, name);
  await exec(join(import.meta.dirname, 'unpack-packages.sh'), [root, ...PACKAGES], { timeout: 600_000 });
  // Debian links it where it is installed; the names of compose's services are answered by rules inside containers
  await exec('ln', ['-sf', 'iptables-nft', join(root, 'usr/sbin/iptables')]);
  return root;
}

/** This machine's redis-server and the libraries that it is linked to, and nothing else; no registry is asked. */
async function redisImage(docker) {
  const { stdout: program } = await exec('sh', ['-c', 'command -v redis-server']);
  const files = await linked(program.trim());
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update(readFileSync(file));
  const image = `kvcapsule-test-redis:${hash.digest('hex').slice(0, 12)}`;
  if ((await docker('image', 'ls', '-q', image)) !== '') return image;
  const archive = join(mkdtempSync(join(tmpdir(), 'kvcapsule-image-')), 'image.tar');
  await exec('tar', ['-chf', archive, '-C', '/', ...files.map((file) => file.slice(1))]);
  await docker('import', archive, image);
  rmSync(join(archive, '..'), { recursive: true });
  return image;
}

async function linked(program) {
  const { stdout } = await exec('ldd', [program]);
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path);
  return [program, ...new Set(libraries)].sort();
}

/** Whether a container of it runs here and shares the host's network. */
async function probe(docker, image) {
  const args = ['--rm', '--network', 'host', '--label', LABEL, '--entrypoint', 'redis-server', image];
  await docker('run', ...args, '--version');
}

/** Removes what tests left, also tests that were killed. */
async function end({ docker, stop }) {
  const left = await docker('ps', '-aq', '--filter', `label=${LABEL}`).catch(() => '');
  if (left !== '') await docker('rm', '-f', ...left.split('\n')).catch(() => undefined);
  await stop();
}
