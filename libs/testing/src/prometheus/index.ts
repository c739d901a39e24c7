import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

import { type Program, runProgram } from './program.js';

export { programs } from './program.js';
export * from './without-waits.js';

/** One series of an answer: its labels, and samples in time (seconds) and value. */
export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly samples: readonly { readonly seconds: number; readonly value: number }[];
}

export interface Range {
  readonly startSeconds: number;
  readonly endSeconds: number;
  readonly stepSeconds: number;
}

export interface FiredAlert {
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface RawSeries {
  readonly metric: Record<string, string>;
  readonly values: readonly (readonly [number, string])[];
}

/** A real Prometheus of a test's own. */
export class Prometheus {
  private constructor(private readonly program: Program) {}

  /** Starts it with a configuration and with files of rules (name → YAML) beside that, in the folder `rules`. */
  static async start(config: object, rules: Readonly<Record<string, string>> = {}): Promise<Prometheus> {
    const program = await runProgram('prometheus', (folder, address) => {
      mkdirSync(join(folder, 'rules'));
      for (const [name, text] of Object.entries(rules)) writeFileSync(join(folder, 'rules', name), text);
      writeFileSync(join(folder, 'prometheus.yml'), stringify(config));
      return [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
      ];
    });
    return new Prometheus(program);
  }

  get url(): string {
    return this.program.url;
  }

  async query(expr: string, range: Range): Promise<Series[]> {
    const { startSeconds, endSeconds, stepSeconds } = range;
    const found = await this.get<{ result: RawSeries[] }>('query_range', {
      query: expr,
      start: String(startSeconds),
      end: String(endSeconds),
      step: String(stepSeconds),
    });
    return found.result.map(({ metric, values }) => ({
      labels: metric,
      samples: values.map(([seconds, value]) => ({ seconds, value: Number(value) })),
    }));
  }

  async alerts(): Promise<readonly FiredAlert[]> {
    return (await this.get<{ alerts: FiredAlert[] }>('alerts', {})).alerts;
  }

  /** Scrapes that fail, a line each. */
  async brokenTargets(): Promise<string[]> {
    const { activeTargets } = await this.get<{
      activeTargets: { scrapeUrl: string; health: string; lastError: string }[];
    }>('targets', {});
    return activeTargets
      .filter(({ health }) => health !== 'up')
      .map(({ scrapeUrl, lastError }) => `${scrapeUrl}: ${lastError}`);
  }

  stop(): Promise<void> {
    return this.program.stop();
  }

  private async get<T>(route: string, parameters: Record<string, string>): Promise<T> {
    const search = new URLSearchParams(parameters).toString();
    const response = await fetch(`${this.url}/api/v1/${route}?${search}`);
    const body = (await response.json()) as { status: string; error?: string; data: T };
    if (body.status !== 'success') throw new Error(`${parameters['query'] ?? route}: ${String(body.error)}`);
    return body.data;
  }
}

/** A real Alertmanager of a test's own. */
export class Alertmanager {
  private constructor(private readonly program: Program) {}

  static async start(config: object): Promise<Alertmanager> {
    const program = await runProgram('prometheus-alertmanager', (folder, address) => {
      writeFileSync(join(folder, 'alertmanager.yml'), stringify(config));
      return [
        `--config.file=${join(folder, 'alertmanager.yml')}`,
        `--storage.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
        '--cluster.listen-address=',
      ];
    });
    return new Alertmanager(program);
  }

  /** Host and port, as Prometheus' configuration wants it. */
  get address(): string {
    return new URL(this.program.url).host;
  }

  stop(): Promise<void> {
    return this.program.stop();
  }
}
