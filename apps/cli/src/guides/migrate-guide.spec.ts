import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatCompletionRequest } from '@kvcapsule/contracts/openai';
import { VARIABLES } from '@kvcapsule/platform/config';
import { METRICS } from '@kvcapsule/platform/telemetry';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';
import { createProgram } from '../program.js';
import { allNodes, commandTree } from '../reference/command-tree.js';

interface VllmLists {
  readonly version: string;
  readonly flags: readonly string[];
  readonly metrics: readonly string[];
  readonly fields: readonly string[];
}

/** What `vllm serve --help=all`, its metrics and its request class name. */
const VLLM = JSON.parse(readFileSync(join(import.meta.dirname, 'vllm-lists.json'), 'utf8')) as VllmLists;
const GUIDE = readFileSync(join(ROOT, 'docs/guides/migrate-from-vllm.md'), 'utf8');
const tree = allNodes(commandTree(await createProgram()));
const section = (title: string): string =>
  GUIDE.slice(GUIDE.indexOf(`## ${title}\n`)).split(/\n## /)[0] ?? '';
const codes = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
/** First cells of rows with three columns, and the second ones. */
const rows = (text: string): string[][] =>
  [...text.matchAll(/^\| (.*) \|$/gm)].map(([, row = '']) => row.split(' | '));

describe('the guide from vLLM', () => {
  it('has every flag of vLLM once: mapped, not needed, or not there', () => {
    const [mapped = '', ...others] = section('Flags').split('\n### ');
    const first = rows(mapped).flatMap(([cell = '']) => codes(cell));
    const listed = others.flatMap((text) => rows(text).flatMap(([, cell = '']) => codes(cell)));
    const flags = [...first, ...listed].filter((code) => code.startsWith('--')).map((flag) => flag.slice(2));
    expect(flags.sort()).toEqual([...VLLM.flags].sort());
  });

  it('names flags of ours that there are', () => {
    const ofCommands = tree.flatMap(({ options }) => options.map(({ long }) => long));
    const ofParts = [...VARIABLES.router, ...VARIABLES.worker].flatMap((name) => {
      const flag = `--${name.toLowerCase().replaceAll('_', '-')}`;
      return [flag, flag.replace(/s$/, '')];
    });
    const known = new Set([...ofCommands, ...ofParts, '--no-auth', '--config']);
    const [mapped = ''] = section('Flags').split('\n### ');
    const ours = rows(mapped).flatMap(([, here = '', note = '']) => codes(`${here} ${note}`));
    const flags = ours.flatMap((code) => code.split(' ')).filter((word) => word.startsWith('--'));
    expect(flags.length).toBeGreaterThan(30);
    expect(flags.filter((flag) => !known.has(flag))).toEqual([]);
  });

  it('has every metric of vLLM’s that does not belong to a backend, and names ones of ours that there are', () => {
    const text = section('Metrics');
    const known = new Set(codes(text));
    expect(VLLM.metrics.filter((name) => !known.has(name))).toEqual([]);
    const ours = codes(text).filter((code) => code.startsWith('kvcapsule_'));
    const specs: readonly { readonly name: string }[] = [
      ...Object.values(METRICS.router),
      ...Object.values(METRICS.worker),
    ];
    const all = new Set(specs.map(({ name }) => name));
    expect(ours.length).toBeGreaterThan(20);
    expect(ours.filter((name) => !all.has(name))).toEqual([]);
  });

  it('says of every field of a chat completion whether it is taken', () => {
    const text = section('API').split('\n\n')[0] ?? '';
    const told = rows(text)
      .slice(1)
      .filter(([cell = '']) => cell.startsWith('`'));
    expect(told.flatMap(([cell = '']) => codes(cell)).sort()).toEqual([...VLLM.fields].sort());
    for (const [cell = '', here = ''] of told)
      for (const field of codes(cell)) {
        const messages = [{ role: 'user', content: 'Hello' }];
        // of no type that any field takes
        const { error } = ChatCompletionRequest.safeParse({ messages, [field]: { unfit: true } });
        const isUnknown = (error?.issues ?? []).some(
          ({ path, message }) => path.length === 1 && message.includes('no such field'),
        );
        expect(isUnknown, field).toBe(here.startsWith('not there'));
      }
  });
});
