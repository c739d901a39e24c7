import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KvcError } from '@kvcapsule/contracts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type ModelFolder, openModelFolder } from './model-folder.js';
import { readSpecification } from './specification.js';

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

const dirs: string[] = [];
afterEach(async () => {
  await Promise.all(dirs.splice(0).map((dir) => rm(dir, { recursive: true })));
});

type Change = (json: Json) => unknown;

/** A copy of the demo's folder with some files changed or added; `undefined` leaves one out. */
async function folderOf(changes: Readonly<Record<string, Change>>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'kvcapsule-model-'));
  dirs.push(dir);
  for (const name of [...FILES, ...TEXT_FILES])
    if (!(name in changes)) await symlink(join(MODEL_DIR, name), join(dir, name));
  for (const [file, change] of Object.entries(changes)) {
    const text = await readFile(join(MODEL_DIR, file), 'utf8').catch(() => '{}');
    const changed = change(file.endsWith('.json') ? (JSON.parse(text) as Json) : {});
    if (changed !== undefined)
      await writeFile(join(dir, file), typeof changed === 'string' ? changed : JSON.stringify(changed));
  }
  return dir;
}

/** What is said of a folder that is refused, after its name. */
async function refusal(dir: string): Promise<string> {
  const error: unknown = await openModelFolder(dir).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: 'MODEL_INVALID' });
  const { message } = error as KvcError;
  expect(message.startsWith(`${dir}: `)).toBe(true);
  return message.slice(dir.length + 2);
}

const folderWith = (file: string, change: Change) => folderOf({ [file]: change });
const without: Change = () => undefined;

const text = (fields: object): Change => {
  return (json) => ({ ...json, text_config: { ...json['text_config'], ...fields } });
};
const vision = (fields: object): Change => {
  return (json) => ({ ...json, vision_config: { ...json['vision_config'], ...fields } });
};

/** What the engine does not compute is refused by the reader, with the field's name. */
const configCases: [string, Change, RegExp][] = [
  ['config.json', text({ hidden_act: 'relu' }), /^config\.json: text_config\.hidden_act: only silu/],
  ['config.json', text({ num_hidden_layers: -1 }), /text_config\.num_hidden_layers/],
  ['config.json', text({ hidden_size: 1e30 }), /text_config\.hidden_size/],
  [
    'config.json',
    text({ rope_parameters: { rope_type: 'yarn' } }),
    /rope_parameters\.rope_type: only default/,
  ],
  ['config.json', text({ rope_scaling: { type: 'linear' } }), /rope_scaling\.type: only default/],
  ['config.json', text({ num_key_value_heads: 3 }), /num_attention_heads: is not a multiple/],
  ['config.json', text({ head_dim: 63 }), /head_dim: is odd/],
  ['config.json', vision({ num_attention_heads: 5 }), /vision_config\.hidden_size: is not a multiple/],
  ['config.json', vision({ num_channels: 4 }), /vision_config\.num_channels: only 3/],
  ['config.json', (json) => ({ ...json, vision_config: 'none' }), /^config\.json: vision_config/],
  ['config.json', (json) => ({ ...json, image_token_id: 1088 }), /image_token_id: is outside the vocabulary/],
  [
    'config.json',
    (json) => ({ ...json, scale_factor: 3 }),
    /patches of a tile of 64 pixels are not cut evenly/,
  ],
];

it('leaves pixels out that fill no patch: 27 patches of 14 in a tile of 384, three by three a token', async () => {
  const pictures = { max_image_size: { longest_edge: 384 }, size: { longest_edge: 1536 } };
  const dir = await folderOf({
    'config.json': (json) => ({
      ...(vision({ patch_size: 14, image_size: 384 })(json) as object),
      scale_factor: 3,
    }),
    'preprocessor_config.json': (json) => ({ ...json, ...pictures }),
    'processor_config.json': without,
  });
  expect((await readSpecification(dir)).tokensPerTile).toBe(81);
});

describe('a folder at fault', () => {
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
    ...configCases,
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
      'processor_config.json',
      (json) => ({ ...json, image_processor: { size: { height: 3, width: 3 } } }),
      /^processor_config\.json: image_processor\.size\.longest_edge: /,
    ],
    ['processor_config.json', () => '[]', /^processor_config\.json: /],
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
    expect(await refusal(dir)).toMatch(message);
  });

  it.each(['config.json', 'tokenizer.json', 'chat_template.jinja', 'preprocessor_config.json'])(
    'is told at once where %s is no file, or one without an end',
    async (file) => {
      const dir = await folderWith(file, without);
      const path = join(dir, file);
      const refused = async (problem: string) => {
        expect(await refusal(dir)).toMatch(new RegExp(`^${file}: ${problem}`));
        await rm(path, { recursive: true });
      };
      execFileSync('mkfifo', [path]);
      await refused('is no regular file');
      execFileSync('mkfifo', [join(dir, 'pipe')]);
      await symlink(join(dir, 'pipe'), path);
      await refused('is no regular file');
      await symlink('/dev/zero', path);
      await refused('is no regular file');
      await mkdir(path);
      await refused('is a folder');
      await writeFile(path, '');
      await truncate(path, 5 * 2 ** 30);
      await refused('has more than \\d+ KiB');
      await symlink(path, path);
      await refused('cannot be read .ELOOP.');
    },
  );

  it('is told within seconds where its template does not come to an end', async () => {
    const endless = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}';
    const dir = await folderWith('chat_template.jinja', () => endless);
    expect(await refusal(dir)).toBe('chat_template.jinja: the chat template takes more than 5 s');
  }, 60_000);

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

/** Tokens of a picture of 257 x 256 pixels: 312 in tiles, 19 as its global view alone. */
async function pictureTokens(dir: string): Promise<number> {
  const model = await openModelFolder(dir);
  return model.pictureSpan(257, 256).tokenIds.length;
}

describe("the image processor's settings", () => {
  const settings = (split: boolean): Change => {
    return (json) => ({ ...json, do_image_splitting: split });
  };
  const nested = (split: boolean): Change => {
    return (json) => ({
      ...json,
      image_processor: { ...json['image_processor'], do_image_splitting: split },
    });
  };

  it('are read where transformers 5 saves them, in processor_config.json alone', async () => {
    const dir = await folderOf({
      'preprocessor_config.json': without,
      'processor_config.json': nested(false),
    });
    expect(await pictureTokens(dir)).toBe(19);
  });

  it('are read where transformers before 5 saves them, beside a processor_config.json without any', async () => {
    const dir = await folderOf({
      'preprocessor_config.json': settings(false),
      'processor_config.json': () => ({ processor_class: 'Idefics3Processor', image_seq_len: 16 }),
    });
    expect(await pictureTokens(dir)).toBe(19);
    const alone = await folderOf({
      'preprocessor_config.json': settings(false),
      'processor_config.json': without,
    });
    expect(await pictureTokens(alone)).toBe(19);
  });

  it.each([
    [true, false, 312],
    [false, true, 19],
  ])('count from processor_config.json (splits: %s) where the files differ', async (inner, outer, tokens) => {
    const dir = await folderOf({
      'preprocessor_config.json': settings(outer),
      'processor_config.json': nested(inner),
    });
    expect(await pictureTokens(dir)).toBe(tokens);
    expect((await readSpecification(dir)).pictures.splits).toBe(inner);
  });

  it('are in one of two files', async () => {
    const dir = await folderOf({ 'preprocessor_config.json': without, 'processor_config.json': without });
    await expect(openModelFolder(dir)).rejects.toThrow('preprocessor_config.json: missing');
  });
});

describe('the chat template', () => {
  const TEXT_ONLY = "{% for m in messages %}{{ m['content'] if m['content'] is string else '' }}{% endfor %}";
  const marked = (mark: string) =>
    `${mark}{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}`;
  const json = (template: string) => () => ({ chat_template: template });

  async function firstToken(dir: string): Promise<string> {
    const model = await openModelFolder(dir);
    const messages = [{ role: 'user', content: 'x' }];
    const { tokenIds } = await model.prepareChat({ messages, pictures: [], addGenerationPrompt: false });
    return model.tokenBytes.spell(tokenIds[0] ?? -1);
  }

  it('comes from its own file, then chat_template.json, processor_config.json, tokenizer_config.json', async () => {
    const template = marked;
    const everywhere = {
      'chat_template.jinja': () => template('1'),
      'chat_template.json': json(template('2')),
      'processor_config.json': (file: Json) => ({ ...file, chat_template: template('3') }),
      'tokenizer_config.json': (file: Json) => ({
        ...file,
        chat_template: [{ name: 'default', template: template('4') }],
      }),
    };
    expect(await firstToken(await folderOf(everywhere))).toBe('1');
    const noJinja = { ...everywhere, 'chat_template.jinja': without };
    expect(await firstToken(await folderOf(noJinja))).toBe('2');
    const noJson = { ...noJinja, 'chat_template.json': without };
    expect(await firstToken(await folderOf(noJson))).toBe('3');
    const onlyTokenizer = { ...noJson, 'processor_config.json': (file: Json) => file };
    expect(await firstToken(await folderOf(onlyTokenizer))).toBe('4');
  });

  it('of the processor is taken although the tokenizer has one for text alone', async () => {
    const dir = await folderOf({
      'chat_template.jinja': without,
      'chat_template.json': json(marked('7')),
      'tokenizer_config.json': (file) => ({ ...file, chat_template: TEXT_ONLY }),
    });
    expect(await firstToken(dir)).toBe('7');
  });

  it.each([
    ['tokenizer_config.json', TEXT_ONLY, 'makes 0 <image> of one picture'],
    ['tokenizer_config.json', `${marked('')}<image>`, 'makes 2 <image> of one picture'],
    ['chat_template.json', "{{ raise_exception('text only') }}", 'does not take a message with a picture'],
  ])('in %s that loses a picture is refused by name', async (file, template, problem) => {
    const dir = await folderOf({
      'chat_template.jinja': without,
      [file]: (old) => ({ ...old, chat_template: template }),
    });
    expect(await refusal(dir)).toMatch(new RegExp(`^${file}: the chat template ${problem}`));
  });
});

it('opens SmolVLM as it opens Idefics3', async () => {
  const dir = await folderWith('config.json', (config) => ({ ...config, model_type: 'smolvlm' }));
  expect(await pictureTokens(dir)).toBe(312);
  expect(await readSpecification(dir)).toEqual(await readSpecification(MODEL_DIR));
});
