import { describe, expect, it } from 'vitest';
import { type ChatPart, ChatTemplate, templateMessages } from './chat-template.js';

describe('what a template gets', () => {
  const text = (value: string): ChatPart => ({ type: 'text', text: value });
  const contentOf = (content: string | readonly ChatPart[] | null) =>
    templateMessages([{ role: 'user', content }])[0]?.content;

  it('is one part for texts side by side', () => {
    expect(contentOf([text('a'), text(''), text('b')])).toEqual([text('ab')]);
    expect(contentOf('ab')).toEqual([text('ab')]);
  });

  it('keeps texts apart that a picture parts', () => {
    const image: ChatPart = { type: 'image' };
    expect(contentOf([text('a'), { type: 'image_url' }, text('b')])).toEqual([text('a'), image, text('b')]);
    expect(contentOf([text(''), image])).toEqual([image]);
  });

  it('is never without a part', () => {
    for (const content of ['', null, [], [text('')], [text(''), text('')]])
      expect(contentOf(content)).toEqual([text('')]);
  });
});

describe('a template', () => {
  const messages = templateMessages([{ role: 'user', content: 'secret' }]);

  it('that refuses the messages makes an error of the request, without their words', () => {
    const template = new ChatTemplate(
      "{{ raise_exception('no ' + messages[0].content[0].text) }}",
      'file',
      {},
    );
    expect(() => template.render(messages, true)).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST', param: 'messages' }),
    );
    expect(() => template.render(messages, true)).toThrow(/^(?!.*secret)/);
  });

  it('knows the named tokens', () => {
    const template = new ChatTemplate('{{ bos_token }}{{ add_generation_prompt }}', 'file', {
      bos_token: '<s>',
    });
    expect(template.render(messages, false)).toBe('<s>false');
  });
});
