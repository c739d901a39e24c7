import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSettings } from './config.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'kvcapsule-models-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const read = (content: unknown, ...more: string[]) => {
  const file = join(folder, 'models.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return readSettings(['--redis', 'redis://x', '--models', file, ...more], {}).models;
};
const model = (name: string, folders: string[], more: object = {}) => ({ name, folders, ...more });

describe('a file of models', () => {
  it('names models, their aliases, the default and folders of revisions beside itself', () => {
    const small = model('small', ['a-2', '/else/a-1'], { aliases: ['gpt'], default: true });
    expect(read({ models: [small, model('large', ['b'])] }, '--model', 'c')).toEqual([
      {
        name: 'c',
        aliases: [],
        isDefault: false,
        folders: [expect.objectContaining({ workerModelId: 'c' })],
      },
      {
        ...{ name: 'small', aliases: ['gpt'], isDefault: true },
        folders: [
          { modelDir: join(folder, 'a-2'), workerModelId: 'a-2' },
          { modelDir: '/else/a-1', workerModelId: 'a-1' },
        ],
      },
      {
        name: 'large',
        aliases: [],
        isDefault: false,
        folders: [{ modelDir: join(folder, 'b'), workerModelId: 'b' }],
      },
    ]);
  });

  it('may give revisions of one model one folder name', () => {
    expect(read({ models: [model('small', ['2/a', '1/a'])] })[0]?.folders).toHaveLength(2);
  });

  it.each<[string, unknown, RegExp]>([
    ['no JSON', '{\n "models": sekret', /models\.json: is not valid JSON at line 2, column 12$/],
    ['no model', { models: [] }, /models: /],
    ['a model without folders', { models: [model('a', [])] }, /models\.0\.folders: /],
    [
      'a folder in place of a list',
      { models: [{ name: 'a', folders: '/models/a' }] },
      /models\.json: models\.0\.folders: Invalid input: expected array, received string$/,
    ],
    ['an unknown field', { models: [model('a', ['a'], { sekret: 1 })] }, /models\.0: /],
    [
      'a name twice',
      { models: [model('a', ['a']), model('a', ['b'])] },
      /models\.json: models\.1\.name: the name "a" is given twice$/,
    ],
    [
      'an alias that is a name',
      { models: [model('a', ['a']), model('b', ['b'], { aliases: ['b-1', 'a'] })] },
      /models\.json: models\.1\.aliases\.1: the name "a" is given twice$/,
    ],
    [
      'one folder name for two models',
      { models: [model('a', ['1/a']), model('b', ['b', '2/a'])] },
      /models\.json: models\.1\.folders\.1: two models have the same folder name "a", by which/,
    ],
    [
      'one folder for two revisions',
      { models: [model('a', ['1/a', './1//a/'])] },
      /models\.json: models\.0\.folders\.1: the folder "\/.*\/1\/a" is given twice$/,
    ],
    [
      'two defaults',
      { models: [model('a', ['a'], { default: true }), model('b', ['b'], { default: true })] },
      /models\.json: models\.1\.default: two models are the default, "a" and "b"$/,
    ],
    [
      'a name that --model has',
      { models: [model('c', ['d'])] },
      /models\.json: models\.0\.name: the name "c" is given twice$/,
    ],
    [
      'several faults, each with its place',
      { models: [model('a', ['a']), model('a', ['a'])] },
      /models\.1\.folders\.0: .*; models\.1\.name: /,
    ],
  ])('is refused with %s', (_what, content, message) => {
    expect(() => read(content, '--model', 'c')).toThrow(message);
    expect(() => read(content, '--model', 'c')).toThrow(/^--models: /);
  });
});
