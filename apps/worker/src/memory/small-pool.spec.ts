import { expect, it } from 'vitest';
import { smallPoolNote } from './small-pool.js';

it('says how many tokens a pool holds that is smaller than the context', () => {
  const sizes = { contextTokens: 8192, blockTokens: 16 };
  expect(smallPoolNote(512, sizes)).toBeUndefined();
  expect(smallPoolNote(511, sizes)).toMatch(/^the pool holds 8176 tokens .* fewer than the context of 8192/);
});
