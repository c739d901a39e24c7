import { describe, expect, it } from 'vitest';
import { CHART } from './documents/index.js';
import { faultsOf, parse, render, renderText, tool, withValues } from './manifests/index.js';
import { CASES, GIVEN } from './testing/cases.js';

describe('installations', () => {
  it.each(Object.entries(CASES))('%s', async (_name, values) => {
    const [text, again] = await Promise.all([renderText(values), renderText(values)]);
    expect(again, 'two renderings are equal').toBe(text);
    expect(await faultsOf(parse(text), GIVEN)).toEqual([]);
  });

  it.each(['minimal', 'everything on', 'everything off'])('%s passes helm lint', async (name) => {
    const said = await withValues(CASES[name] ?? {}, (file) =>
      tool('helm', 'lint', '--strict', '--quiet', CHART, '-f', file),
    );
    expect(said).not.toMatch(/WARNING|ERROR/);
  });

  it.each([
    ['a', 'r'],
    [
      'a-release-whose-name-is-as-long-as-helm-lets-it-be-53',
      'a-namespace-of-sixty-three-letters-which-is-the-most-there-can-be'.slice(0, 63),
    ],
    ['kvcapsule', 'kvcapsule'],
  ])('release %s in namespace %s', async (release, namespace) => {
    const objects = await render(CASES['everything on'] ?? {}, { release, namespace });
    expect(await faultsOf(objects, GIVEN)).toEqual([]);
    expect(new Set(objects.map(({ metadata }) => metadata.namespace ?? namespace))).toEqual(
      new Set([namespace]),
    );
  });
});
