import { stringify } from 'yaml';

import { alertmanagerConfig } from './config/alertmanager.js';
import { dashboardProvider, datasources } from './config/grafana.js';
import { prometheusConfig } from './config/prometheus.js';
import { BOARDS } from './dashboards/index.js';
import { dashboard } from './grafana/dashboard.js';
import { runbookUrl } from './links.js';
import { ALERT_GROUPS, pageOf } from './rules/alerts/index.js';
import { RECORDING_GROUPS } from './rules/recording.js';
import type { AlertRule, RuleGroup } from './rules/rule.js';

const HEAD = '# Written by `npm run generate:observability` from libs/observability.\n';
/** Where the chart finds its own copies: Helm reads no file outside of a chart. */
const CHART = 'helm/kvcapsule/files';
const DEPLOY = 'deploy/observability';

/** All that is generated: paths in the repository with what is in them. */
export function files(): ReadonlyMap<string, string> {
  const shared = [
    ...BOARDS.map((board) => [`dashboards/kvcapsule-${board.name}.json`, json(dashboard(board))] as const),
    ['rules/kvcapsule-recording.yaml', yaml({ groups: RECORDING_GROUPS })] as const,
    ['rules/kvcapsule-alerts.yaml', yaml({ groups: ALERT_GROUPS.map(alertGroup) })] as const,
  ];
  return new Map([
    ...shared.flatMap(([path, text]) => [
      [`${DEPLOY}/${path}`, text] as const,
      [`${CHART}/${path}`, text] as const,
    ]),
    [`${DEPLOY}/prometheus.yml`, yaml(prometheusConfig('127.0.0.1:8000', '127.0.0.1:9093'))],
    [
      `${DEPLOY}/alertmanager.yml`,
      yaml(
        alertmanagerConfig({ page: 'http://127.0.0.1:9095/page', ticket: 'http://127.0.0.1:9095/ticket' }),
      ),
    ],
    [`${DEPLOY}/grafana/provisioning/datasources/kvcapsule.yml`, yaml(datasources('http://prometheus:9090'))],
    [
      `${DEPLOY}/grafana/provisioning/dashboards/kvcapsule.yml`,
      yaml(dashboardProvider('/var/lib/grafana/dashboards/kvcapsule')),
    ],
  ]);
}

function alertGroup({ name, rules }: RuleGroup<AlertRule>): object {
  return {
    name,
    rules: rules.map(({ alert, expr, for: time, severity, summary, description }) => ({
      alert,
      expr,
      ...(time === undefined ? {} : { for: time }),
      labels: { severity },
      annotations: { summary, description, runbook_url: runbookUrl(pageOf(alert)) },
    })),
  };
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function yaml(value: object): string {
  return HEAD + stringify(value, { lineWidth: 0 });
}
