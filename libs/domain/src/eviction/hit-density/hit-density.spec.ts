import { describe, expect, it } from 'vitest';
import { contentOf, PolicyDriver } from '../../testing/policy-driver.js';

describe('hit-density', () => {
  it('knows nothing at first: what is cheap for its pages and was left long ago goes', () => {
    const driver = new PolicyDriver('hit-density');
    driver.keep(
      contentOf(0, { name: 'picture', textTokens: 0, pictureTokens: 64 }),
      contentOf(1, { name: 'large', pages: 8 }),
    );
    driver.keep(contentOf(2, { name: 'old' }));
    for (let serial = 3; serial < 40; serial += 1) driver.keep(contentOf(serial, { name: 'old' + serial }));
    expect(driver.evict()?.name).toBe('large');
    expect(driver.evict()?.name).toBe('old');
  });

  it('learns which kind comes back: pictures that do outlive dearer text that does not', () => {
    const driver = new PolicyDriver('hit-density');
    const pictures = Array.from({ length: 8 }, (_, at) =>
      contentOf(at, { textTokens: 0, pictureTokens: 2, name: `picture ${at}` }),
    );
    driver.keep(...pictures);
    const gone: (string | undefined)[] = [];
    for (let round = 0; round < 200; round += 1) {
      driver.keep(contentOf(100 + round, { name: `text ${round}` }));
      const picture = pictures[round % 8];
      if (picture && driver.idle.has(picture)) driver.again(picture);
      if (round >= 10) gone.push(driver.evict()?.name);
    }
    // text is dearer, so one or two go before it has seen that they come back
    const lost = gone.flatMap((name, at) => (name?.startsWith('picture') ? at : []));
    expect(lost.filter((at) => at >= 20)).toEqual([]);
    expect(lost.length).toBeLessThan(4);
  });

  it('remembers how often gone content was used when it comes back', () => {
    const driver = new PolicyDriver('hit-density');
    const [back, fresh] = [contentOf(0), contentOf(1)];
    // content that is used often is used again soon
    const hot = contentOf(9, { name: 'hot' });
    driver.keep(hot, back);
    for (let use = 0; use < 40; use += 1) driver.again(hot);
    for (let use = 0; use < 40; use += 1) driver.again(back);
    driver.policy.withdraw(hot);
    driver.keep(contentOf(2, { pages: 400 }));
    expect([driver.evict()?.name, driver.evict()?.name].sort()).toEqual(['c0', 'c2']);
    driver.keep(back, fresh);
    expect(driver.evict()?.name).toBe('c1');
  });

  it('tells content of later turns from that of first ones, also behind other new content', () => {
    const driver = new PolicyDriver('hit-density');
    const { policy } = driver;
    const [shared, talk] = [
      contentOf(0, { name: 'shared' }),
      contentOf(1, { name: 'talk', parent: 'shared' }),
    ];
    for (const content of [shared, talk]) policy.insert(content);
    for (let use = 0; use < 40; use += 1) policy.use(shared);
    policy.use(talk);
    for (const content of [shared, talk]) policy.leave(content);
    const turn = (serial: number, parent: string) => [
      contentOf(serial, { name: `begins ${serial}`, parent }),
      contentOf(serial + 1, { name: `ends ${serial}`, parent: `begins ${serial}` }),
    ];
    for (let serial = 10; serial < 800; serial += 10) {
      const later = turn(serial, 'talk');
      driver.keep(...later, ...turn(serial + 2, 'shared'));
      for (const content of later) driver.again(content);
      for (let gone = 0; gone < 4; gone += 1) driver.evict();
    }
    driver.evictAll();
    driver.keep(...turn(900, 'talk'), ...turn(902, 'shared'));
    expect(driver.evictAll().slice(0, 2).sort()).toEqual(['begins 902', 'ends 902']);
  });
});
