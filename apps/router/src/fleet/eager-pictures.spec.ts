import type { Picture } from '@kvcapsule/contracts/worker';
import { expect, it } from 'vitest';
import { EagerPictures } from './eager-pictures.js';

const KIB = 1024;

/** Which of pictures with these names and sizes travel along. */
function attached(eager: EagerPictures, ...pictures: readonly (readonly [name: number, bytes: number])[]) {
  const files = pictures.map(([, bytes]) => Buffer.alloc(bytes));
  const messages = pictures.map(([name]): Picture => {
    const contentSha256 = Buffer.alloc(32);
    contentSha256.writeInt32BE(name, 28);
    return { contentSha256, offset: 1, length: 2, param: 'p' };
  });
  const sent = eager.attach(messages, files);
  expect(sent.map((picture) => ({ ...picture, file: undefined }))).toEqual(messages);
  return sent.flatMap(({ file }, index) => {
    if (file) expect(file).toBe(files[index]);
    return file ? [index] : [];
  });
}

it('sends a small picture along once', () => {
  const eager = new EagerPictures();
  expect(attached(eager, [1, KIB], [2, KIB], [1, KIB])).toEqual([0, 1]);
  expect(attached(eager, [2, KIB], [3, KIB])).toEqual([1]);
  expect(attached(new EagerPictures(), [1, KIB])).toEqual([0]);
});

it('leaves what a request has no room for to be asked for, and sends it with another', () => {
  const eager = new EagerPictures();
  expect(attached(eager, [1, 64 * KIB + 1])).toEqual([]);
  expect(attached(eager, [2, 40 * KIB], [3, 30 * KIB], [4, 24 * KIB], [5, 1])).toEqual([0, 2]);
  expect(attached(eager, [3, 30 * KIB], [4, 24 * KIB])).toEqual([0]);
});

it('forgets the pictures that it sent first', () => {
  const eager = new EagerPictures();
  for (let name = 0; name <= 1024; name += 1) attached(eager, [name, 1]);
  expect(attached(eager, [1, 1], [1024, 1], [0, 1])).toEqual([2]);
});
