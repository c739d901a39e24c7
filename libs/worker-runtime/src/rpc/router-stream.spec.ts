import { EventEmitter } from 'node:events';

import type { ServerDuplexStream } from '@grpc/grpc-js';
import { type ConnectRequest, type ConnectResponse, Generate } from '@kvcapsule/contracts/worker';
import type { RequestEvent } from '@kvcapsule/serving';
import { expect, it } from 'vitest';

import type { Executor } from '../executor.js';
import { RouterStream } from './router-stream.js';

/** A stream that takes no frame for good until it is told to. */
class Call extends EventEmitter {
  full = true;
  ended = false;
  readonly frames: ConnectResponse[] = [];

  write(frame: ConnectResponse): boolean {
    this.frames.push(frame);
    return !this.full;
  }

  end(): void {
    this.ended = true;
  }
}

function scene() {
  const call = new Call();
  const [submitted, aborted]: string[][] = [[], []];
  let emit!: (event: RequestEvent) => void;
  const executor = {
    submit: (key: string, _request: unknown, _files: unknown, listener: (event: RequestEvent) => void) => {
      submitted?.push(key);
      emit = listener;
    },
    abort: (key: string) => void aborted?.push(key),
    progress: () => ({ steps: 0, prefills: [] }),
  } as unknown as Executor;
  new RouterStream('r', call as unknown as ServerDuplexStream<ConnectRequest, ConnectResponse>, executor);
  call.emit('data', { message: { $case: 'generate', value: Generate.create({ requestId: 'a' }) } });
  const say = (text: string) => {
    emit({ kind: 'delta', text, tokenIds: [1], logprobs: [] });
  };
  return { call, emit, say, submitted, aborted };
}

it('waits with the end until a router that had stopped reading has everything', async () => {
  const { call, emit, say } = scene();
  for (const text of ['1', '2', '3']) {
    say(text);
    await Promise.resolve();
  }
  const none = { bytes: 0, rawBytes: 0 };
  const kv = { codec: 'raw', ...none, pictures: none };
  const usage = { promptTokens: 1, completionTokens: 3, cachedTokens: 0, kv };
  emit({ kind: 'finished', reason: 'stop', text: '', usage });
  call.emit('end');
  expect([call.frames.length, call.ended]).toEqual([1, false]);
  call.full = false;
  call.emit('drain');
  expect(call.frames.slice(1).map(({ events }) => events.length)).toEqual([2]);
  expect(call.ended).toBe(true);
});

it('gives up a router that leaves too much unread, and aborts its requests', async () => {
  const { call, say, submitted, aborted } = scene();
  const errors: unknown[] = [];
  call.on('error', (error) => errors.push(error));
  say('1');
  await Promise.resolve();
  for (let i = 0; i < 40; i += 1) say('x'.repeat(512 * 1024));
  expect(aborted).toEqual(submitted);
  expect(errors).toMatchObject([{ code: 8 }]);
  expect(call.frames).toHaveLength(1);
});
