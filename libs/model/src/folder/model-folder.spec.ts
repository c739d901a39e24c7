import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ModelFolder, openModelFolder } from './model-folder.js';

const MODEL_DIR = new URL('../../../../deploy/models/emoji-vlm/', import.meta.url).pathname;
type Json = Record<string, Record<string, unknown>>;

const FILES = ['config.json', 'generation_config.json', 'preprocessor_config.json', 'processor_config.json'];
const TEXT_FILES = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];

describe('the demo model', () => {
  let model: ModelFolder;

  beforeAll(async () => {
    model = await openModelFolder(MODEL_DIR);
  });
  afterAll(() => model.dispose());

  it('tells what the others need', () => {
    expect(model).toMatchObject({
      contextTokens: 8192,
      vocabSize: 1088,
      eosTokenIds: [2],
      imageTokenId: 6,
      tokensPerTile: 16,
    });
  });
});

describe('a folder at fault', () => {
  const dirs: string[] = [];
  afterEach(async () => {
    await Promise.all(dirs.splice(0).map((dir) => rm(dir, { recursive: true })));
  });

  /** A copy of the demo's folder with one file changed; `undefined` leaves it out. */
  async function folderWith(file: string, change: (json: Json) => unknown): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'kvcapsule-model-'));
    dirs.push(dir);
    for (const name of [...FILES, ...TEXT_FILES])
      if (name !== file) await symlink(join(MODEL_DIR, name), join(dir, name));
    const text = await readFile(join(MODEL_DIR, file), 'utf8');
    const changed = change(file.endsWith('.json') ? (JSON.parse(text) as Json) : {});
    if (changed !== undefined)
      await writeFile(join(dir, file), typeof changed === 'string' ? changed : JSON.stringify(changed));
    return dir;
  }

  const cases: [string, (json: Json) => unknown, RegExp][] = [
    ['config.json', () => undefined, /^config\.json: missing/],
    ['config.json', () => '{', /^config\.json: not JSON/],
    ['config.json', (json) => ({ ...json, model_type: 'llava' }), /^config\.json: model_type: .*idefics3/],
    [
      'config.json',
      (json) => ({ ...json, text_config: { ...json['text_config'], max_position_embeddings: '8k' } }),
      /^config\.json: text_config\.max_position_embeddings: /,
    ],
    [
      'config.json',
      (json) => ({ ...json, image_token_id: 7 }),
      /^config\.json: image_token_id: 7 is not <image>/,
    ],
    ['tokenizer.json', () => undefined, /^tokenizer\.json: missing/],
    [
      'tokenizer.json',
      (json) => ({ ...json, decoder: { type: 'Metaspace' } }),
      /^tokenizer\.json: decoder\.type: .*ByteLevel/,
    ],
    [
      'tokenizer.json',
      (json) => ({ ...json, model: { ...json['model'], type: 'Unigram' } }),
      /^tokenizer\.json: model\.type: .*BPE/,
    ],
    ['chat_template.jinja', () => undefined, /^chat_template\.jinja: missing/],
    ['chat_template.jinja', () => '{% for %}', /^chat_template\.jinja: not a chat template/],
    [
      'preprocessor_config.json',
      (json) => ({ ...json, size: { height: 3, width: 3 } }),
      /^preprocessor_config\.json: size\.longest_edge: /,
    ],
    [
      'processor_config.json',
      (json) => ({ ...json, image_seq_len: 17 }),
      /^processor_config\.json: image_seq_len: does not agree/,
    ],
    ['tokenizer_config.json', (json) => ({ ...json, bos_token: 7 }), /^tokenizer_config\.json: bos_token: /],
    ['generation_config.json', () => ({ eos_token_id: 'two' }), /^generation_config\.json: eos_token_id: /],
  ];

  it.each(cases)('%s %s is refused by name', async (file, change, message) => {
    const dir = await folderWith(file, change);
    const error = await openModelFolder(dir).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(KvcError);
    expect(error).toMatchObject({ code: 'MODEL_INVALID', message: expect.stringMatching(message) as string });
  });

  it('may keep its picture settings in processor_config.json and its template in tokenizer_config.json', async () => {
    const template = await readFile(join(MODEL_DIR, 'chat_template.jinja'), 'utf8');
    const dir = await folderWith('tokenizer_config.json', (json) => ({ ...json, chat_template: template }));
    await rm(join(dir, 'chat_template.jinja'));
    await rm(join(dir, 'preprocessor_config.json'));
    const model = await openModelFolder(dir);
    const { tokenIds } = await model.prepareChat({
      messages: [{ role: 'user', content: 'Hello!' }],
      pictures: [],
      addGenerationPrompt: true,
    });
    expect([...tokenIds].slice(0, 2)).toEqual([1, 3]);
    expect(model.pictureSpan(257, 256).tokenIds).toHaveLength(312);
  });

  it('joins the ids that end an answer', async () => {
    const dir = await folderWith('generation_config.json', () => ({ eos_token_id: [1036, 2] }));
    const model = await openModelFolder(dir);
    expect(model.eosTokenIds).toEqual([1036, 2]);
  });
});
