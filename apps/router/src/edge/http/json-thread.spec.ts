import { afterEach, describe, expect, it, vi } from 'vitest';
import { JsonThread } from './json-thread.js';

const WAIT_MS = 30_000;
const late = expect.objectContaining({ code: 'NO_CAPACITY', status: 503, retryAfterMs: 1_000 }) as Error;
/** Takes a good second. */
const slow = () => Buffer.from(`[${new Array(5_000_000).fill('{}').join()}]`);

let thread: JsonThread;
afterEach(async () => {
  vi.useRealTimers();
  await thread.dispose();
});

describe('the thread that parses', () => {
  it('answers each who asks with its own', async () => {
    thread = new JsonThread(WAIT_MS);
    const asked = [1, 2, 3, 4].map((number) => thread.parse(Buffer.from(`{"a":${number}}`)));
    expect(await Promise.all(asked)).toEqual([1, 2, 3, 4].map((a) => ({ value: { a } })));
  });

  it('keeps nobody for longer than may be, and goes on without what does not end', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    thread = new JsonThread(WAIT_MS);
    const first = [slow(), Buffer.from('1')].map((text) => expect(thread.parse(text)).rejects.toEqual(late));
    vi.advanceTimersByTime(WAIT_MS - 1);
    const third = thread.parse(Buffer.from('3'));
    vi.advanceTimersByTime(1);
    await Promise.all(first);
    expect(await third).toEqual({ value: 3 });
  });
});
