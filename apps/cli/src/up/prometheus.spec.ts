import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';
import { prometheusConfig, prometheusProgram } from './prometheus.js';

const dir = mkdtempSync(join(tmpdir(), 'kvc-prometheus-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

function programIn(name: string, mode = 0o755): string {
  mkdirSync(join(dir, name));
  const path = join(dir, name, 'prometheus');
  writeFileSync(path, '');
  chmodSync(path, mode);
  return path;
}

describe('prometheusProgram', () => {
  it('is that of the PATH, else the unpacked one', () => {
    const installed = programIn('installed');
    const unpacked = programIn('unpacked');
    const PATH = `/nowhere:${join(dir, 'installed')}`;
    expect(prometheusProgram({ PATH }, join(dir, 'unpacked'))).toBe(installed);
    expect(prometheusProgram({ PATH: '/nowhere' }, join(dir, 'unpacked'))).toBe(unpacked);
  });

  it('is missed with what to do', () => {
    programIn('not-executable', 0o644);
    const none = (): string => prometheusProgram({ PATH: join(dir, 'not-executable') }, '/nowhere');
    expect(none).toThrow('no program `prometheus` is in the PATH');
  });
});

describe('prometheusConfig', () => {
  it('asks what the configuration for a Prometheus of one’s own asks, with its rules', () => {
    const text = JSON.stringify(prometheusConfig('http://127.0.0.1:8000'));
    const { rule_files: rules } = prometheusConfig('http://127.0.0.1:8000') as { rule_files: [string] };
    const own = readFileSync(join(ROOT, 'deploy/observability/prometheus.yml'), 'utf8');
    for (const [, found = ''] of own.matchAll(/(?:job_name|url): (\S+)/g))
      expect(text).toContain(`"${found}"`);
    expect(statSync(join(rules[0], '..')).isDirectory()).toBe(true);
    expect(own).toContain('rules/*.yaml');
    expect(rules[0]).toMatch(/deploy\/observability\/rules\/\*\.yaml$/);
  });
});
