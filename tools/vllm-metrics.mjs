// Notes what vLLM tells at /metrics (names, types, labels and the values of its own ones, bounds of buckets), which tests
// compare ours with; first give it requests of every kind, since what never was has no labels:
// node tools/vllm-metrics.mjs URL VERSION.
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const [url, version] = process.argv.slice(2);
if (!url || !version) throw new Error('usage: node tools/vllm-metrics.mjs URL VERSION');

const text = await (await fetch(new URL('/metrics', url))).text();
const metrics = {};
for (const [, name, type] of text.matchAll(/^# TYPE (vllm:\S+) (\w+)$/gm)) {
  if (!name.endsWith('_created')) metrics[name] = { type, labels: [] };
}
for (const [, sample, body] of text.matchAll(/^(vllm:[^{\s]+)\{([^}]*)\} /gm)) {
  const metric = metrics[sample] ?? metrics[sample.replace(/_(bucket|count|sum)$/, '')];
  if (!metric) continue;
  const labels = [...body.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]);
  metric.labels = labels.map(([name]) => name).filter((name) => name !== 'le');
  for (const [label, value] of labels) {
    if (['model_name', 'engine', 'le'].includes(label)) continue;
    metric.values ??= {};
    metric.values[label] = [...new Set([...(metric.values[label] ?? []), value])].sort();
  }
  const bound = sample.endsWith('_bucket') ? labels.find(([name]) => name === 'le')?.[1] : undefined;
  if (bound === undefined || bound === '+Inf') continue;
  metric.buckets ??= [];
  if (!metric.buckets.includes(Number(bound))) metric.buckets.push(Number(bound));
}
const file = resolve(import.meta.dirname, '../libs/platform/src/telemetry/vllm/vllm-metrics.json');
writeFileSync(file, `${JSON.stringify({ version, metrics }, undefined, 2)}\n`);
