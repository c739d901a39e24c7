import { type SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';

/** One selector of an expression: a metric and the labels that its matchers name. */
export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** Labels by which an aggregation or a match groups, with the metrics that they must be on. */
export interface Grouping {
  readonly labels: readonly string[];
  readonly metrics: readonly string[];
}

export interface Reading {
  readonly selectors: readonly Selector[];
  readonly groupings: readonly Grouping[];
}

/** Grafana's variables of time stand where PromQL has a duration: each has one that nobody writes, of its own. */
const DURATIONS = { $__rate_interval: '7777771s', $__range: '7777773s' };

function withoutVariables(expr: string): string {
  return Object.entries(DURATIONS).reduce((text, [name, duration]) => text.replaceAll(name, duration), expr);
}

function withVariables(expr: string): string {
  return Object.entries(DURATIONS).reduce((text, [name, duration]) => text.replaceAll(duration, name), expr);
}

/** What an expression asks for. Throws a `SyntaxError` that quotes the place where it is not PromQL. */
export function read(expr: string): Reading {
  const text = withoutVariables(expr);
  const selectors: Selector[] = [];
  const groupings: Grouping[] = [];
  parser.parse(text).iterate({
    enter: ({ type, from, to, node }) => {
      if (type.isError) throw new SyntaxError(`not PromQL at ${String(from)}: ${text.slice(from, to + 20)}`);
      if (type.name === 'VectorSelector') selectors.push(selectorOf(node, text));
      if (type.name === 'GroupingLabels') groupings.push(groupingOf(node, text));
    },
  });
  return { selectors, groupings };
}

/** The expression with more matchers on each of its metrics: those that `matchersOf` gives for the metric's name. */
export function withMatchers(expr: string, matchersOf: (metric: string) => readonly string[]): string {
  let text = withoutVariables(expr);
  const places: { at: number; matchers: string }[] = [];
  parser.parse(text).iterate({
    enter: ({ type, node }) => {
      if (type.name !== 'VectorSelector') return;
      const added = matchersOf(selectorOf(node, text).metric).join(',');
      if (added === '') return;
      const braces = node.getChild('LabelMatchers');
      const isBare = braces === null;
      const isEmpty = braces !== null && braces.firstChild === null;
      if (isBare) places.push({ at: node.to, matchers: `{${added}}` });
      else places.push({ at: braces.from + 1, matchers: isEmpty ? added : `${added},` });
    },
  });
  for (const { at, matchers } of places.reverse()) text = text.slice(0, at) + matchers + text.slice(at);
  return withVariables(text);
}

function selectorOf(node: SyntaxNode, text: string): Selector {
  const name = node.getChild('Identifier');
  const labels = labelNames(node.getChild('LabelMatchers'), text);
  return { metric: name === null ? '' : text.slice(name.from, name.to), labels };
}

function groupingOf(node: SyntaxNode, text: string): Grouping {
  const metrics: string[] = [];
  const owner = ancestor(node, ['AggregateExpr', 'BinaryExpr']);
  owner.cursor().iterate(({ type, node: inner }) => {
    if (type.name === 'VectorSelector') metrics.push(selectorOf(inner, text).metric);
  });
  return { labels: labelNames(node, text), metrics };
}

function ancestor(node: SyntaxNode, names: readonly string[]): SyntaxNode {
  let at: SyntaxNode = node;
  while (at.parent !== null && !names.includes(at.name)) at = at.parent;
  return at;
}

function labelNames(node: SyntaxNode | null, text: string): string[] {
  const names: string[] = [];
  node?.cursor().iterate(({ type, from, to }) => {
    if (type.name === 'LabelName') names.push(text.slice(from, to));
  });
  return names;
}
