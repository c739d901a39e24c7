import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderText } from '../manifests/index.js';
import { MINIMAL } from '../testing/cases.js';
import { defaults } from '../values/defaults.js';
import { chartValues } from '../values/index.js';
import { CHART, documents } from './index.js';
import { isSection, jsonSchema, type JsonSchema } from './json-schema.js';

const schema = jsonSchema(chartValues, defaults);

/** Every value, lists' entries included. */
function walk(of: JsonSchema, path = ''): [string, JsonSchema][] {
  return Object.entries(of.properties ?? {}).flatMap(([key, field]) => {
    const at = `${path}${key}`;
    return [
      [at, field] as [string, JsonSchema],
      ...walk(field, `${at}.`),
      ...walk(field.items ?? {}, `${at}[].`),
    ];
  });
}

const sections = walk(schema).filter(
  ([, field]) => isSection(field) || (field.items && isSection(field.items)),
);

describe('the files that are written from the schema', () => {
  const texts = documents(readFileSync(join(CHART, 'README.md'), 'utf8'));

  it.each(Object.keys(texts))('%s is what `npm run generate -w helm` writes', (name) => {
    expect(readFileSync(join(CHART, name), 'utf8') === texts[name], `run it after a change of ${name}`).toBe(
      true,
    );
  });

  it('describe every value', () => {
    expect(walk(schema).filter(([, { description }]) => !description)).toEqual([]);
  });

  it('have defaults that the schema admits', () => {
    expect(chartValues.safeParse(defaults).error).toBeUndefined();
  });
});

/** Values with one that nobody knows at a path such as `router.probes` or `models[].classes[]`. */
function misspelt(path: string): object {
  const entry = path
    .split('.')
    .reduceRight<object>(
      (inner, name) => (name.endsWith('[]') ? { [name.slice(0, -2)]: [inner] } : { [name]: inner }),
      { mispelt: 1 },
    );
  return path.startsWith('models') ? entry : { ...MINIMAL, ...entry };
}

describe('a misspelt value', () => {
  const paths = sections.map(([path, { items }]) => (items ? `${path}[]` : path));

  it.each(paths.filter((path) => !path.includes('classes[].')))('is refused in %s', async (path) => {
    await expect(renderText(misspelt(path))).rejects.toThrow(/'mispelt' not allowed/);
  });

  it('is refused at the top', async () => {
    await expect(renderText({ ...MINIMAL, rooter: {} })).rejects.toThrow(/'rooter' not allowed/);
  });

  it('is refused among settings, and so is a value out of bounds', async () => {
    const router = { config: { queueSize: 0, queueSise: 1 } };
    const said = renderText({ ...MINIMAL, router });
    await expect(said).rejects.toThrow(/router\/config.*'queueSise' not allowed/);
    await expect(said).rejects.toThrow(/router\/config\/queueSize.*minimum/);
  });
});
