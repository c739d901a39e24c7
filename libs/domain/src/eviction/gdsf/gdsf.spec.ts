import { expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

it('gdsf lets the least uses times cost a page go first, aged', () => {
  const driver = new PolicyDriver('gdsf');
  const [often, dear, large] = [
    contentOf(0, { name: 'often' }),
    contentOf(1, { name: 'dear', textTokens: 0, pictureTokens: 8 }),
    contentOf(2, { name: 'large', textTokens: 60, pages: 6 }),
  ];
  driver.keep(often, dear, large);
  driver.again(often);
  driver.again(often);
  // 48, 40 and 10 ms
  expect([driver.evict()?.name, driver.evict()?.name]).toEqual(['large', 'dear']);
  // the clock is 40 ms
  driver.keep(contentOf(3, { textTokens: 7 }), contentOf(4, { textTokens: 9 }));
  expect(driver.evictAll()).toEqual(['c3', 'often', 'c4']);
});
