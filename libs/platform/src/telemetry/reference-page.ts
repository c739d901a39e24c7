import { METRICS } from './catalogue.js';
import type { MetricSpec } from './metric-spec.js';

const HEAD = `# Metrics

The router and each worker answer \`GET /metrics\` in the Prometheus text format. This page is generated from the catalogue, \`libs/platform/src/telemetry\`, by \`npm run generate:metrics\`; a test compares the two. Node’s own metrics (\`process_*\`, \`nodejs_*\`, such as \`process_resident_memory_bytes\`, and \`nodejs_eventloop_lag_p99_seconds\`, which stays in milliseconds whatever requests hold; it counts the 10 ms between two samples in, so 0.01 is no lag) come beside them. No label holds anything of a request, and each has a bounded set of values. How to use them: [observability](../guides/observability.md).
`;

const TITLES = { common: 'Router and worker', router: 'Router', worker: 'Worker' } as const;

/** The text of `docs/reference/metrics.md`. */
export function referencePage(): string {
  const sections = Object.entries(METRICS).map(([component, specs]) => {
    const rows = Object.values<MetricSpec>(specs).map(row);
    const table = ['| metric | type | labels | what |', '| --- | --- | --- | --- |', ...rows];
    return `## ${TITLES[component as keyof typeof METRICS]}\n\n${table.join('\n')}\n`;
  });
  return [HEAD, ...sections].join('\n');
}

function row({ name, type, labels, help }: MetricSpec): string {
  return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help} |`;
}
