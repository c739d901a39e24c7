import { expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

it('lfu lets the least often used go first, the longest unused of equals, and forgets what has gone', () => {
  const driver = new PolicyDriver('lfu');
  const [a, b, c, d] = [contentOf(0), contentOf(1), contentOf(2), contentOf(3)];
  driver.keep(a, b, c, d);
  for (const content of [b, d, b, a]) driver.again(content);
  expect([driver.evict()?.name, driver.evict()?.name]).toEqual(['c2', 'c3']);
  driver.keep(d);
  expect(driver.evictAll()).toEqual(['c3', 'c0', 'c1']);
});
