import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InlineData } from './inline-data.js';

const uri = (bytes: number) => `data:image/png;base64,${'A'.repeat(bytes)}`;

/** Everything a body says, its pictures put back where they were taken out. */
function restored(body: string): unknown {
  const data = new InlineData();
  return JSON.parse(data.take(Buffer.from(body)).toString(), (_key, value: unknown) =>
    typeof value === 'string' ? (data.behind(value)?.toString() ?? value) : value,
  );
}

describe('data of pictures', () => {
  it('is taken out of a body, and found behind what stands there', () => {
    const data = new InlineData();
    const [first, second] = [uri(9_000), uri(5_000)];
    const body = JSON.stringify([{ url: first }, { url: 'data:,short' }, { url: second }]);
    const rest = data.take(Buffer.from(body));
    expect(rest.length).toBeLessThan(300);
    const urls = (JSON.parse(rest.toString()) as { url: string }[]).map(({ url }) => url);
    expect(urls.map((url) => data.behind(url)?.toString())).toEqual([first, undefined, second]);
  });

  it('cannot be asked for by a name that somebody made up', () => {
    const data = new InlineData();
    data.take(Buffer.from(JSON.stringify({ url: uri(9_000) })));
    for (const url of ['data:undefined/0', 'data:/0', 'data:00000000-0000-4000-8000-000000000000/0'])
      expect(data.behind(url)).toBeUndefined();
  });

  it('changes nothing of what a body says, whatever it is', () => {
    const string = fc.oneof(
      fc.constantFrom(uri(5_000), uri(10), '"url":', '\\', `"url":"${uri(5_000)}`, `\\"${uri(4_200)}`, 'url'),
      fc.string(),
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        string,
        fc.array(tie('any'), { maxLength: 4 }),
        fc.dictionary(fc.oneof(fc.constantFrom('url', 'a"url', 'url"'), fc.string()), tie('any'), {
          maxKeys: 4,
        }),
      ),
    })).any;
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 1, '\n\t '), (any, indent) => {
        const body = JSON.stringify(any, null, indent);
        expect(restored(body)).toEqual(JSON.parse(body));
      }),
      { numRuns: 500, seed: 11 },
    );
  });

  it('stays in a body that is not JSON', () => {
    const data = new InlineData();
    for (const body of [`{"url":"${uri(9_000)}`, '"data:', '"url":"data:'])
      expect(data.take(Buffer.from(body)).toString()).toBe(body);
  });
});
