import { expect, it } from 'vitest';
import { SendPictureRequest } from '../gen/kvcapsule/worker/v1/worker.js';
import { pictureHead } from './picture-head.js';

it.each([
  ['t', 300, 1],
  ['', 0, 128],
  ['a ticket', 2_000_000, 262_144],
])('makes a message of a head and its data: %j, %i bytes, %i of them', (ticket, totalBytes, bytes) => {
  const part = { ticket, totalBytes, data: Buffer.alloc(bytes, 7) };
  const whole = Buffer.concat([pictureHead(part), part.data]);
  expect(whole.equals(SendPictureRequest.encode(part).finish())).toBe(true);
});
