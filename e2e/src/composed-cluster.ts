import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { freePort } from '@kvcapsule/testing/redis';
import { BASE, composeProgram, docker, LABEL } from './containers.js';
import { ROOT, until } from './harness.js';

const run = promisify(execFile);
const FILE = join(ROOT, 'deploy/compose/compose.yaml');
const PROMETHEUS = 'kvcapsule-test-prometheus:latest';
/** All but Grafana, of which there is no package. */
const SERVICES = ['redis', 'worker-0', 'worker-1', 'router', 'prometheus'] as const;
export type Service = (typeof SERVICES)[number];
const START_LIMIT_MS = 300_000;

export const KEY = 'key-of-compose';

/** What compose.yaml describes, started by docker-compose: the images of a release, and Debian's Redis and Prometheus. */
export class ComposedCluster {
  private constructor(
    readonly url: string,
    private readonly program: string,
    private readonly folder: string,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  /** @param version the tag of router's and worker's images */
  static async start(version: string): Promise<ComposedCluster> {
    await buildPrometheus();
    const folder = mkdtempSync(join(tmpdir(), 'kvc-compose-'));
    writeFileSync(join(folder, 'images.yaml'), stringify({ services: overrides() }));
    const program = await composeProgram();
    const listen = `127.0.0.1:${String(await freePort())}`;
    const env = {
      ...{ KVCAPSULE_VERSION: version, KVCAPSULE_API_KEYS: KEY, REDIS_PASSWORD: 'of the "tests" $1\\' },
      ...{ ROUTER_LISTEN: listen, WORKER_CPUS: '1', WORKER_POOL_MIB: '64' },
    };
    const cluster = new ComposedCluster(`http://${listen}`, program, folder, env);
    try {
      await cluster.compose('up', '--detach', ...SERVICES);
      await until(() => cluster.#isReady(), START_LIMIT_MS);
    } catch (error) {
      const said = await cluster.compose('logs', '--tail', '20').catch(String);
      await cluster.stop();
      throw new Error(`compose does not come up: ${said}`, { cause: error });
    }
    return cluster;
  }

  async compose(...args: readonly string[]): Promise<string> {
    const files = ['-f', FILE, '-f', join(this.folder, 'images.yaml')];
    const { stdout } = await run(this.program, ['-p', this.#project, ...files, ...args], {
      env: { ...process.env, ...this.env },
      maxBuffer: 1 << 26,
    });
    return stdout;
  }

  chat(body: object): Promise<Response> {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${KEY}` };
    return fetch(`${this.url}/v1/chat/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  /** Of a service that no port of the machine leads to: the machine itself reaches the containers' network. */
  async addressOf(service: Service): Promise<string> {
    const container = (await this.compose('ps', '--quiet', service)).trim();
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    return await docker('inspect', '--format', format, container);
  }

  async stop(): Promise<void> {
    await this.compose('down', '--volumes', '--timeout', '30');
    rmSync(this.folder, { recursive: true });
  }

  /** Names of containers, networks and volumes of the project. */
  async left(): Promise<string[]> {
    const of = ['--filter', `label=com.docker.compose.project=${this.#project}`];
    const lists = await Promise.all([
      docker('ps', '--all', '--quiet', ...of),
      docker('network', 'ls', '--quiet', ...of),
      docker('volume', 'ls', '--quiet', ...of),
    ]);
    return lists.filter((list) => list !== '');
  }

  get #project(): string {
    return `kvcapsule-test-${String(process.pid)}`;
  }

  async #isReady(): Promise<boolean> {
    const response = await fetch(`${this.url}/health/ready`).catch(() => undefined);
    return response?.status === 200;
  }
}

/** Images that no registry is asked for. */
function overrides(): Record<string, object> {
  const labels = Object.fromEntries([LABEL.split('=')]) as Record<string, string>;
  const all = SERVICES.map((name) => [name, { labels }] as const);
  return {
    ...Object.fromEntries(all),
    redis: { labels, image: BASE },
    // its own image has wget, by which it looks whether it is well
    prometheus: { labels, image: PROMETHEUS, healthcheck: { test: ['CMD', '/bin/prometheus', '--version'] } },
  };
}

/** Debian's Prometheus where its own image has it, and as the same user. */
async function buildPrometheus(): Promise<void> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'tools/prometheus.mjs')]);
  const scratch = mkdtempSync(join(tmpdir(), 'kvc-prometheus-'));
  mkdirSync(join(scratch, 'data'));
  copyFileSync(join(stdout.trim(), 'prometheus'), join(scratch, 'prometheus'));
  const lines = [
    ...[`FROM ${BASE}`, 'COPY prometheus /bin/prometheus'],
    ...['COPY --chown=65534:65534 data /prometheus', 'ENTRYPOINT ["/bin/prometheus"]'],
  ];
  writeFileSync(join(scratch, 'Dockerfile'), `${lines.join('\n')}\n`);
  await docker('build', '--quiet', '--network', 'host', '-t', PROMETHEUS, scratch);
  rmSync(scratch, { recursive: true });
}
