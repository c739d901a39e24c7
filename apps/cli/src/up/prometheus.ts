import { accessSync, constants, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { CliError } from '../failure.js';
import { ROOT } from '../paths.js';
import type { ChildSpec, ReadyFields } from './child.js';

const READY_TIMEOUT_MS = 30_000;
const RULES = join(ROOT, 'deploy/observability/rules');
/** Where `tools/prometheus.mjs` unpacks Debian's package. */
const UNPACKED = join(ROOT, '.cache/tools/prometheus/usr/bin');
/** A first plot within a minute; the rules, made for 15 s, see more samples than they need. */
const INTERVAL = '5s';
/** Three processes are about 100 MB a day. */
const KEPT = { time: '1d', size: '256MB' };

/**
 * Prometheus of the PATH, else the unpacked one.
 *
 * @throws CliError that says how to have it
 */
export function prometheusProgram(env: NodeJS.ProcessEnv = process.env, unpacked = UNPACKED): string {
  const folders = [...(env['PATH'] ?? '').split(delimiter).filter(Boolean), unpacked];
  const found = folders.map((folder) => resolve(folder, 'prometheus')).find(isExecutable);
  if (found !== undefined) return found;
  throw new CliError(
    '--observe: Prometheus is not there: no program `prometheus` is in the PATH.',
    'Install it (Debian: apt-get install prometheus), have a checkout unpack it (node tools/prometheus.mjs), or leave --observe out.',
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Debian's program finds its pages in `/usr/share` alone; a program that is only unpacked answers queries. */
export const hasPages = (program: string): boolean =>
  !program.startsWith(UNPACKED) || existsSync('/usr/share/prometheus');

/** As `deploy/observability/prometheus.yml`, but with the rules where they lie and without an Alertmanager. */
export function prometheusConfig(routerUrl: string): object {
  return {
    global: { scrape_interval: INTERVAL, evaluation_interval: INTERVAL },
    rule_files: [join(RULES, '*.yaml')],
    scrape_configs: [
      {
        job_name: 'kvcapsule',
        http_sd_configs: [{ url: `${routerUrl}/metrics/targets`, refresh_interval: INTERVAL }],
      },
    ],
  };
}

/** What a Prometheus of this run needs: a folder with its configuration and its data, beside the logs. */
export interface PrometheusPlace {
  readonly logFolder: string;
  readonly routerUrl: string;
  /** On loopback. */
  readonly port: number;
}

/** Writes its configuration and says how it is run. Its environment holds none of the cluster's secrets. */
export function prometheusSpec(place: PrometheusPlace): ChildSpec {
  const folder = dataFolder(place.logFolder);
  mkdirSync(folder, { recursive: true });
  const config = join(folder, 'prometheus.json');
  // JSON is YAML
  writeFileSync(config, `${JSON.stringify(prometheusConfig(place.routerUrl), null, 2)}\n`);
  const address = `127.0.0.1:${String(place.port)}`;
  return {
    name: 'prometheus',
    command: prometheusProgram(),
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--storage.tsdb.retention.time=${KEPT.time}`,
      `--storage.tsdb.retention.size=${KEPT.size}`,
      `--web.listen-address=${address}`,
      '--enable-feature=exemplar-storage',
      '--log.format=json',
    ],
    env: { PATH: process.env['PATH'] },
    logPath: join(place.logFolder, 'prometheus.log'),
    readyTimeoutMs: READY_TIMEOUT_MS,
    readyLine: (line) => readyFields(line, `http://${address}`),
  };
}

function readyFields(line: string, url: string): ReadyFields | undefined {
  return line.includes('Server is ready to receive web requests') ? { url } : undefined;
}

/** What it has kept ends with the cluster that it is about. */
export function removeData(logFolder: string): void {
  rmSync(dataFolder(logFolder), { recursive: true, force: true });
}

const dataFolder = (logFolder: string): string => join(logFolder, 'prometheus');
