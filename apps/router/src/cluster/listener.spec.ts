import { EventEmitter } from 'node:events';
import type { FastifyReply } from 'fastify';
import { expect, it } from 'vitest';
import { Listener } from './listener.js';

it('tells of a client that has gone before the answer began once whoever made it has it', async () => {
  const raw = Object.assign(new EventEmitter(), {
    destroyed: true,
    writeHead: () => undefined,
    setTimeout: () => undefined,
    write: () => false,
  });
  const reply = { raw, getHeaders: () => ({}), hijack: () => undefined } as unknown as FastifyReply;
  const left: Listener[] = [];
  const listener = new Listener(reply, 1_000, () => left.push(listener));
  listener.send('event: snapshot');
  await Promise.resolve();
  expect(left).toEqual([listener]);
});
