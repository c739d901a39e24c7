import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { untilServing } from './until-serving.js';

describe('waiting for a router', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  async function router(...answers: object[]): Promise<string> {
    let next = 0;
    server = createServer((_, response) => {
      response.end(JSON.stringify(answers[Math.min(next, answers.length - 1)]));
      next += 1;
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }
  const degraded = (reason: string) => ({ status: 'degraded', reasons: [reason] });
  const ready = { status: 'ready', reasons: [] };

  it('tells once what it waits for, until every model has a worker', async () => {
    const url = await router(...['a', 'a', 'a', 'b', 'b'].map(degraded), ready);
    const said: string[] = [];
    await untilServing(url, (line) => said.push(line), { patienceMs: -1, timeoutMs: 60_000 });
    expect(said).toEqual(['not ready yet: a', 'not ready yet: b']);
  });

  it('ends with the model that has none', async () => {
    const url = await router(degraded('no worker is ready for model two'));
    await expect(untilServing(url, () => undefined, { timeoutMs: 0 })).rejects.toThrow(
      'does not get ready: no worker is ready for model two.',
    );
  });

  it('ends when it is told to', async () => {
    const url = await router(degraded('no worker is ready for model two'));
    const ending = new AbortController();
    const waiting = untilServing(url, () => undefined, { signal: ending.signal });
    setTimeout(() => {
      ending.abort();
    }, 100);
    await expect(waiting).rejects.toThrow('aborted');
  });

  it('ends where nobody answers', async () => {
    await expect(untilServing('http://127.0.0.1:9', () => undefined, { timeoutMs: 0 })).rejects.toThrow(
      'the router does not answer',
    );
  });
});
