import { expect, it } from 'vitest';
import { Ghosts } from './ghosts.js';

it('Ghosts forgets the oldest beyond so many pages, and each name once it is taken', () => {
  const ghosts = new Ghosts();
  for (const name of ['a', 'b', 'c']) ghosts.add(name, 2);
  // again: the latest
  ghosts.add('a', 3);
  ghosts.keep(5);
  expect(['a', 'b', 'c', 'c'].map((name) => ghosts.take(name))).toEqual([true, false, true, false]);
});
