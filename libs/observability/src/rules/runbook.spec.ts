import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { describe, expect, it } from 'vitest';

import { panelsOf } from '../dashboards/board.js';
import { BOARDS } from '../dashboards/index.js';
import { alertmanagerConfig } from '../config/alertmanager.js';
import { unknownIn } from '../promql/known.js';
import { ALERTS, pageOf } from './alerts/index.js';

const DOCS = resolve(import.meta.dirname, '../../../../docs');
const PAGES = readdirSync(join(DOCS, 'runbook'))
  .filter((name) => name !== 'README.md')
  .map((name) => name.replace(/\.md$/, ''));
const names = [...new Set(ALERTS.map(({ alert }) => alert))];

const page = (name: string): string => readFileSync(join(DOCS, `runbook/${name}.md`), 'utf8');

describe('the runbook', () => {
  it('has a page for each alert and no other', () => {
    expect(PAGES.toSorted()).toEqual(names.map(pageOf).toSorted());
  });

  it('lists its pages with their severities', () => {
    const rows = page('README')
      .split('\n')
      .filter((line) => line.startsWith('| ['))
      .map((line) => line.split(' | ').slice(0, 2).join(' | '));
    const expected = names.map((alert) => {
      const severities = ALERTS.filter((rule) => rule.alert === alert).map(({ severity }) => severity);
      return `| [${alert}](${pageOf(alert)}.md) | ${severities.join(', ')}`;
    });
    expect(rows).toEqual(expected);
  });

  it('is where panels lead', () => {
    const led = BOARDS.flatMap(panelsOf).flatMap(({ runbook }) => (runbook === undefined ? [] : [runbook]));
    expect(led.filter((name) => !PAGES.includes(name))).toEqual([]);
  });
});

describe.each(names)('the page about %s', (alert) => {
  const text = page(pageOf(alert));

  it('says what it means, how to look and what to do', () => {
    const headings = text.split('\n').filter((line) => line.startsWith('#'));
    expect(headings).toEqual([`# ${alert}`, '## What it means', '## How to look', '## What to do']);
  });

  it('asks Prometheus for what there is', () => {
    const queries = [...text.matchAll(/^promtool query instant \S+ '(.*)'$/gm)].map(([, expr = '']) => expr);
    for (const expr of queries) expect(unknownIn(expr)).toEqual([]);
  });

  it('names settings that there are', () => {
    const guides = ['guides/configuration', 'guides/operating', 'guides/tenants', 'reference/api'].map(
      (name) => readFileSync(join(DOCS, `${name}.md`), 'utf8'),
    );
    const flags = [...text.matchAll(/`(--[a-z-]+)/g)].map(([, flag = '']) => flag);
    expect(flags.filter((flag) => !guides.some((guide) => guide.includes(flag)))).toEqual([]);
  });
});

describe('alerts', () => {
  it('ask for metrics and labels that there are', () => {
    for (const { expr } of ALERTS) expect(unknownIn(expr)).toEqual([]);
  });

  it('are what Alertmanager’s configuration speaks of', () => {
    const spoken = [
      ...JSON.stringify(alertmanagerConfig({ page: '', ticket: '' })).matchAll(/KVCapsule(\w+|\([\w|]+\))/g),
    ];
    const alerts = spoken
      .flatMap(([, rest = '']) => rest.replaceAll(/[()]/g, '').split('|'))
      .map((rest) => `KVCapsule${rest}`);
    expect(alerts.length).toBeGreaterThan(2);
    expect(alerts.filter((alert) => !names.includes(alert))).toEqual([]);
  });
});
