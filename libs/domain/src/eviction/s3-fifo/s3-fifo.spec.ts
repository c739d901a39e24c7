import { describe, expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

const range = (count: number, from = 0) => Array.from({ length: count }, (_, at) => contentOf(from + at));

describe('s3-fifo', () => {
  it('lets go in the order of arrival, and moves on what was used twice', () => {
    const driver = new PolicyDriver('s3-fifo');
    const contents = range(4);
    driver.keep(...contents);
    for (const at of [0, 0, 2]) driver.again(contents[at] ?? contentOf(9));
    expect(driver.evictAll()).toEqual(['c1', 'c2', 'c3', 'c0']);
  });

  it('takes from the small queue while it has a tenth of the pages', () => {
    const driver = new PolicyDriver('s3-fifo');
    const old = range(18);
    driver.keep(...old);
    for (const content of [...old, ...old]) driver.again(content);
    driver.keep(contentOf(20), contentOf(21));
    // the old ones go over into the main queue; two of twenty pages are a tenth, one of nineteen is less
    expect([driver.evict()?.name, driver.evict()?.name, driver.evict()?.name]).toEqual(['c20', 'c0', 'c1']);
  });

  it('keeps what comes back soon after it has gone, and what is used goes round again', () => {
    const driver = new PolicyDriver('s3-fifo');
    const contents = range(3);
    driver.keep(...contents);
    expect(driver.evict()?.name).toBe('c0');
    const [back] = contents;
    if (!back) throw new Error('no content');
    driver.keep(back);
    expect([driver.evict()?.name, driver.evict()?.name]).toEqual(['c1', 'c2']);
    driver.again(back);
    driver.keep(contentOf(5));
    expect(driver.evictAll()).toEqual(['c5', 'c0']);
  });
});
