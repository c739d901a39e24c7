import { expect, it } from 'vitest';
import { SendPictureRequest } from '../gen/kvcapsule/worker/v1/worker.js';
import { serializer } from './serializer.js';

const serialize = serializer(SendPictureRequest);
const part = (bytes: number, ticket = 't') => ({
  ticket,
  totalBytes: bytes,
  data: Buffer.alloc(bytes, `${bytes}`),
});

it('gives each message the bytes that a writer of its own gives it, whatever its length', () => {
  const messages = [0, 1, 127, 4_096, 262_144, 3, 2_000_000, 70_000].map((bytes) => part(bytes));
  const all = messages.map(serialize);
  for (const [index, message] of messages.entries())
    expect(all[index]?.equals(SendPictureRequest.encode(message).finish())).toBe(true);
});

it('writes nothing of a message that could not be written into the next one', () => {
  const broken = { ...part(10), data: undefined as unknown as Buffer };
  expect(() => serialize(broken)).toThrow();
  expect(SendPictureRequest.decode(serialize(part(5)))).toEqual(part(5));
});
