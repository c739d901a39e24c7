import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { cacheDomain } from './cache-domain.js';
import { ContentChain } from './content-chain.js';
import { pictureName, type RootContent, rootName, runName, textName } from './content-name.js';

const ROOT: RootContent = {
  ...{ modelRevision: 'model', arithmetic: 'cpu-avx2-1', precision: 'f16/f16', imageProcessor: 'p' },
  domain: cacheDomain('t', ''),
};
/** A root's fields, with tenant and salt in the place of their domain. */
const named = ({ tenant = 't', cacheSalt = '', ...changed }: Partial<RootFields>) =>
  rootName({ ...ROOT, ...changed, domain: cacheDomain(tenant, cacheSalt) });
type RootFields = Omit<RootContent, 'domain'> & { readonly tenant: string; readonly cacheSalt: string };

const PICTURE = { contentSha256: Uint8Array.of(1, 2, 3), codec: 'capsule', profileId: 'profile' };

describe('names', () => {
  it('are 256 bits and say nothing of the salt', () => {
    expect(named({ cacheSalt: 'secret' })).toMatch(/^[0-9a-f]{64}$/);
    expect(cacheDomain('tenant', 'secret')).toMatch(/^[0-9a-f]{64}$/);
  });

  it('stay what they are: whoever keeps content by its name finds it again', () => {
    const root = rootName(ROOT);
    const picture = pictureName(root, PICTURE, [6, 6]);
    expect([root, textName(root, [1, 65_537]), runName(root, PICTURE, [3]), picture]).toMatchInlineSnapshot(`
      [
        "122e949cde5e29469b326c01317811de419b740dff40cf8413a8a1c8e36cd9c9",
        "ee048e5eb793dac6f12fd2f91960ba102c6a4885011981e4678714a51c718b57",
        "17228b23714520682c66b36e000aed356a60ac1260d282a7662beca3cd333cb0",
        "0a5f18cb5fa03b2b33dab6038e0727bbab102a108eddc35fa26258915ef95c16",
      ]
    `);
  });

  it('differ wherever any field differs, however the fields join', () => {
    const text = fc.string({ maxLength: 3, unit: fc.constantFrom('a', 'b', '\0', 'model', 'é') });
    const root = fc.record({
      modelRevision: text,
      arithmetic: text,
      precision: text,
      imageProcessor: text,
      tenant: text,
      cacheSalt: text,
    });
    fc.assert(
      fc.property(root, root, (a, b) => {
        expect(named(a) === named(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
      { numRuns: 2_000, seed: 3 },
    );
  });

  it.each([
    ['the model', { cacheSalt: 'model' }],
    ['a profile', { cacheSalt: 'profile' }],
    ['the tenant that another request has', { tenant: 'a', cacheSalt: 'bc' }],
    ['a longer tenant', { tenant: 'ab', cacheSalt: 'c' }],
    ['nothing, as a tenant', { tenant: 'bc' }],
    ['two fields in one', { tenant: '', cacheSalt: 'abc' }],
  ])('F05: of a salt that spells %s are its own', (_, changed) => {
    const roots = [
      {},
      { tenant: 'model' },
      { tenant: 'abc' },
      { precision: 'profile' },
      { arithmetic: 'bc' },
      { imageProcessor: 'bc' },
    ];
    const name = named({ tenant: '', ...changed });
    for (const other of roots) expect(named({ tenant: '', ...other })).not.toBe(name);
  });

  it('of pictures depend on content, form, tokens and what is before', () => {
    const parent = rootName(ROOT);
    const names = [
      pictureName(parent, PICTURE, [1, 2]),
      pictureName(parent, PICTURE, [1, 3]),
      pictureName(parent, { ...PICTURE, contentSha256: Uint8Array.of(1, 2, 4) }, [1, 2]),
      pictureName(parent, { ...PICTURE, codec: 'raw' }, [1, 2]),
      pictureName(parent, { ...PICTURE, profileId: 'other' }, [1, 2]),
      pictureName(parent, { ...PICTURE, codec: 'capsul', profileId: 'eprofile' }, [1, 2]),
      pictureName(textName(parent, [0]), PICTURE, [1, 2]),
      textName(parent, [1, 2]),
      textName(parent, [1, 2, 0]),
      textName(parent, [258]),
      runName(parent, { codec: 'q8', profileId: '' }, [1, 2]),
      runName(parent, { codec: 'q4', profileId: '' }, [1, 2]),
      runName(parent, { codec: 'q8', profileId: '' }, [1, 3]),
      runName(textName(parent, [0]), { codec: 'q8', profileId: '' }, [1, 2]),
    ];
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('ContentChain', () => {
  const chainOf = (tokenIds: readonly number[], segments: ConstructorParameters<typeof ContentChain>[1]) =>
    new ContentChain(rootName(ROOT), segments, [PICTURE], tokenIds, 16);
  const range = (count: number, from = 0): number[] =>
    Array.from({ length: count }, (_, index) => index + from);

  it('cuts text in blocks inside each segment, and takes a picture whole', () => {
    const chain = chainOf(range(90), [
      { start: 0, length: 21, picture: undefined },
      { start: 21, length: 30, picture: 0 },
      { start: 51, length: 39, picture: undefined },
    ]);
    expect(chain.units.map(({ start, tokenIds, picture }) => [start, tokenIds.length, picture])).toEqual([
      [0, 16, undefined],
      [16, 5, undefined],
      [21, 30, 0],
      [51, 16, undefined],
      [67, 16, undefined],
    ]);
    expect(chain.tail).toEqual(range(7, 83));
    for (const [index, unit] of chain.units.entries()) {
      expect(unit.parent).toBe(chain.units[index - 1]?.name ?? chain.root);
    }
  });

  it('cuts text that is not raw in runs, and what is left before a picture in blocks', () => {
    const segments = [
      { start: 0, length: 55, picture: undefined },
      { start: 55, length: 30, picture: 0 },
      { start: 85, length: 0, picture: undefined },
    ];
    const runs = { tokens: 32, form: { codec: 'q8', profileId: '' } };
    const chain = new ContentChain(rootName(ROOT), segments, [PICTURE], range(85 + 31), 16, runs);
    const units = () => chain.units.map(({ start, tokenIds, run }) => [start, tokenIds.length, run]);
    const before = [
      [0, 32, true],
      [32, 16, false],
      [48, 7, false],
      [55, 30, false],
    ];
    expect(units()).toEqual(before);
    expect(chain.tail).toHaveLength(31);
    chain.push(1);
    expect(units()).toEqual([...before, [85, 32, true]]);
    expect(chain.units[0]?.name).toBe(runName(chain.root, runs.form, range(32)));
  });

  it('names what is generated like what was asked', () => {
    const segment = [{ start: 0, length: 3, picture: undefined }];
    const grown = chainOf(range(3), segment);
    for (const token of range(40, 3)) grown.push(token);
    expect(grown.units).toEqual(chainOf(range(43), segment).units);
    expect(grown.tail).toEqual(range(11, 32));
    expect(grown.slice(30, 33)).toEqual([30, 31, 32]);
  });

  it('refuses the span of a picture that it is not given, and does not name it as text', () => {
    const segments = [
      { start: 0, length: 30, picture: 1 },
      { start: 30, length: 0, picture: undefined },
    ];
    expect(() => chainOf(range(30), segments)).toThrow('without a picture');
  });

  it('forks: both go on by themselves', () => {
    const segments = [
      { start: 0, length: 21, picture: undefined },
      { start: 21, length: 30, picture: 0 },
      { start: 51, length: 9, picture: undefined },
    ];
    const prompt = chainOf(range(60), segments);
    const names = [...prompt.units];
    const fork = prompt.fork();
    expect([fork.units, fork.tail]).toEqual([names, prompt.tail]);
    for (const token of range(40, 60)) fork.push(token);
    expect(fork.units).toEqual(chainOf(range(100), segments).units);
    expect([prompt.units, prompt.tail]).toEqual([names, range(9, 51)]);
  });

  it('shares names exactly as far as the tokens agree', () => {
    const names = (tokenIds: readonly number[]) =>
      chainOf(tokenIds, [{ start: 0, length: tokenIds.length, picture: undefined }]).units.map(
        ({ name }) => name,
      );
    fc.assert(
      fc.property(fc.nat(79), (at) => {
        const [a, b] = [names(range(80)), names(range(80).map((token) => (token === at ? 999 : token)))];
        const shared = a.filter((name, index) => name === b[index]).length;
        expect(shared).toBe(Math.floor(at / 16));
      }),
      { seed: 4 },
    );
  });
});
