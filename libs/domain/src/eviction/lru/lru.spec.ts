import { expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

it('lru lets the longest unused go first, whatever it costs', () => {
  const driver = new PolicyDriver('lru');
  const contents = [0, 1, 2, 3].map((serial) => contentOf(serial, { textTokens: 100 - serial }));
  driver.keep(...contents);
  for (const content of [contents[2], contents[0]]) if (content) driver.again(content);
  expect(driver.evictAll()).toEqual(['c1', 'c3', 'c2', 'c0']);
});
