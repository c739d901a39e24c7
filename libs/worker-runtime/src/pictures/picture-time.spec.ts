import type { PictureName } from '@kvcapsule/serving';
import { expect, it } from 'vitest';

import { PictureTime } from './picture-time.js';

const [a, b] = ['a', 'b'] as PictureName[] as [PictureName, PictureName];

it('is what passes while a picture is alone', () => {
  const time = new PictureTime();
  time.begin(a, 5_000);
  expect(time.end(a, 5_250)).toBe(0.25);
  time.begin(b, 9_000);
  expect(time.end(b, 9_100)).toBeCloseTo(0.1, 9);
});

it('is divided among pictures, and half of it is that of the steps beside them', () => {
  const time = new PictureTime();
  time.stepBegins(0);
  time.begin(a, 1_000);
  time.stepBegins(1_400);
  time.stepEnds(1_500);
  time.stepEnds(2_000);
  time.begin(b, 3_000);
  // .5 beside steps, 1 alone, .2 with the other one
  expect(time.end(a, 3_400)).toBeCloseTo(1.7, 9);
  expect(time.end(b, 4_400)).toBeCloseTo(1.2, 9);
});
