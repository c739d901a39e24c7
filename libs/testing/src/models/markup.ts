import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const TOKENIZER = fileURLToPath(
  new URL('../../../../deploy/models/emoji-vlm/tokenizer.json', import.meta.url),
);

/** Number of `<image>`, which the markup's other tokens follow. */
export const IMAGE_TOKEN = 5;

/** The demo's tokenizer with few ids: letters, and the tokens that SmolVLM's markup needs. */
export async function markupTokenizer(): Promise<string> {
  const file = JSON.parse(await readFile(TOKENIZER, 'utf8')) as { model: object };
  const rows = [1, 2].flatMap((row) => [1, 2].map((col) => `<row_${row}_col_${col}>`));
  const added = ['<image>', '<fake_token_around_image>', '<global-img>', '<end_of_utterance>', ...rows];
  const special = { lstrip: false, rstrip: false, single_word: false, normalized: false, special: true };
  const letters = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:', 'Ġ', 'Ċ'];
  const vocab = Object.fromEntries(letters.map((letter, index) => [letter, 30 + index]));
  return JSON.stringify({
    ...file,
    added_tokens: added.map((content, index) => ({ id: IMAGE_TOKEN + index, content, ...special })),
    model: { ...file.model, vocab, merges: [] },
  });
}

export const SMOLVLM_TEMPLATE = `{% for message in messages %}{{ message['role'] | capitalize }}{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}`;
