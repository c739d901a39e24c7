import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { programs } from '@kvcapsule/testing/prometheus';
import { afterAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';

import { read } from '../../promql/promql.js';
import { ALERT_CASES, type AlertCase } from './cases.js';
import { ALERTS } from './index.js';
import { promtoolTest } from './promtool-test.js';

const ROOT = resolve(import.meta.dirname, '../../../../..');
const DEPLOY = join(ROOT, 'deploy/observability');
const RULES = ['recording', 'alerts'].map((name) => join(DEPLOY, `rules/kvcapsule-${name}.yaml`));

const tools = programs();
const folder = mkdtempSync(join(tmpdir(), 'kvc-rules-'));

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function run(tool: string, ...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(join(tools, tool), args, { encoding: 'utf8' });
  return { status, output: `${stdout}${stderr}` };
}

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
}

/** The generated rules that an alert is made of: promtool evaluates all that it is given at each minute of a test. */
function rulesOf(alert: string): Rule[] {
  const rules = RULES.flatMap((path) =>
    (parse(readFileSync(path, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
      (group) => group.rules,
    ),
  );
  const alerts = rules.filter((rule) => rule.alert === alert);
  const asked = new Set(alerts.flatMap(({ expr }) => read(expr).selectors.map(({ metric }) => metric)));
  return [...rules.filter(({ record = '' }) => asked.has(record)), ...alerts];
}

function runCase(alertCase: AlertCase): { status: number | null; output: string } {
  const name = join(folder, `${alertCase.alert}-${alertCase.severity}`);
  const rules = `${name}-rules.yaml`;
  writeFileSync(rules, stringify({ groups: [{ name: 'of the case', rules: rulesOf(alertCase.alert) }] }));
  const test = { rule_files: [rules], evaluation_interval: '1m', tests: [promtoolTest(alertCase)] };
  writeFileSync(`${name}.yaml`, stringify(test));
  return run('promtool', 'test', 'rules', `${name}.yaml`);
}

describe('what is generated', () => {
  it.each([
    ['promtool', ['check', 'rules', ...RULES]],
    ['promtool', ['check', 'config', join(DEPLOY, 'prometheus.yml')]],
    ['amtool', ['check-config', join(DEPLOY, 'alertmanager.yml')]],
  ])('%s takes it: %j', (tool, args) => {
    expect(run(tool, ...args)).toMatchObject({ status: 0 });
  });
});

describe('alerts', () => {
  it.each(ALERT_CASES)('$alert ($severity) fires in its fault and clears after it', (alertCase) => {
    expect(runCase(alertCase)).toMatchObject({
      status: 0,
      output: expect.stringContaining('SUCCESS') as string,
    });
  });

  it('have a fault each', () => {
    const names = (list: readonly { alert: string; severity: string }[]): string[] =>
      list.map(({ alert, severity }) => `${alert}, ${severity}`).sort();
    expect(names(ALERT_CASES)).toEqual(names(ALERTS));
  });

  it('do not fire without their fault', () => {
    const [first] = ALERT_CASES;
    if (first === undefined) throw new Error('no case');
    const courses = first.courses.map((course) => ({ ...course, ill: course.well }));
    expect(runCase({ ...first, courses })).toMatchObject({
      status: 1,
      output: expect.stringContaining('FAILED') as string,
    });
  });
});
