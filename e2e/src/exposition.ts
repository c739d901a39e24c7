import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programs } from '@kvcapsule/testing/prometheus';

const TEXT = 'text/plain';
const OPENMETRICS = 'application/openmetrics-text; version=1.0.0';

/** Names that others have chosen: vLLM's, and those of Node's own metrics in prom-client. */
const OF_OTHERS = /^(vllm:|nodejs_)/;

const promtool = (args: readonly string[], input: string) => {
  const { stdout, stderr } = spawnSync(join(programs(), 'promtool'), args, { encoding: 'utf8', input });
  return `${stdout}${stderr}`;
};

/** What promtool finds wrong with the metrics at an address, in both formats, a line each. */
export async function expositionFaults(url: string): Promise<string[]> {
  const [text, openMetrics] = await Promise.all([TEXT, OPENMETRICS].map((accept) => told(url, accept)));
  return [...textFaults(text ?? ''), ...openMetricsFaults(openMetrics ?? '')];
}

async function told(url: string, accept: string): Promise<string> {
  const response = await fetch(url, { headers: { accept } });
  const type = response.headers.get('content-type') ?? '';
  if (!type.startsWith(accept)) throw new Error(`${url} answers ${type} where ${accept} is asked for`);
  return response.text();
}

function textFaults(text: string): string[] {
  const lines = promtool(['check', 'metrics'], text).split('\n');
  return lines.filter((line) => line.trim() !== '' && !OF_OTHERS.test(line));
}

/** promtool has no check of this format, but reads it where each sample has its time. */
function openMetricsFaults(text: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'kvc-openmetrics-'));
  try {
    const file = join(folder, 'metrics.txt');
    writeFileSync(file, text.replaceAll(/^([^#\n]*?[^#\s])( # \{.*)?$/gm, '$1 1700000000$2'));
    const said = promtool(['tsdb', 'create-blocks-from', 'openmetrics', file, join(folder, 'out')], '');
    const faults = said.split('\n').filter((line) => /error|invalid|expected/i.test(line));
    return [...faults, ...counterFaults(text)];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A counter is named without what its samples end with. */
function counterFaults(text: string): string[] {
  const counters = [...text.matchAll(/^# TYPE (\S+) counter$/gm)].map(([, name = '']) => name);
  const samples = new Set([...text.matchAll(/^([^#\s{]+)[ {]/gm)].map(([, name = '']) => name));
  return counters
    .filter((name) => name.endsWith('_total') || samples.has(name))
    .map((name) => `${name}: a counter without _total`);
}
