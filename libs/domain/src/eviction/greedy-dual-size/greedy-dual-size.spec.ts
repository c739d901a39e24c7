import { describe, expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

describe('greedy-dual-size', () => {
  it('lets what costs least a page go first, a picture being dearer than text, and the latest of equals', () => {
    const driver = new PolicyDriver('greedy-dual-size');
    driver.keep(
      contentOf(0, { name: 'picture', textTokens: 0, pictureTokens: 16 }),
      contentOf(1, { name: 'text' }),
      contentOf(2, { name: 'large', pages: 2 }),
      contentOf(3, { name: 'later text' }),
    );
    expect(driver.evictAll()).toEqual(['large', 'later text', 'text', 'picture']);
  });

  it('ages: what was dear goes before what is cheap once the clock has moved on by the difference', () => {
    const driver = new PolicyDriver('greedy-dual-size');
    driver.keep(contentOf(0, { name: 'dear', textTokens: 40 }));
    const gone = [1, 2, 3, 4].map((serial) => {
      driver.keep(contentOf(serial));
      return driver.evict()?.name;
    });
    expect(gone).toEqual(['c1', 'c2', 'dear', 'c3']);
  });

  it('does not count uses, only the last', () => {
    const driver = new PolicyDriver('greedy-dual-size');
    const [often, once] = [contentOf(0), contentOf(1, { textTokens: 17 })];
    driver.keep(often, once);
    for (let use = 0; use < 3; use += 1) driver.again(often);
    expect(driver.evictAll()).toEqual(['c0', 'c1']);
  });
});
