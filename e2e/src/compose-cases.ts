import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ComposedCluster } from './composed-cluster.js';
import { ask, picture, until } from './harness.js';

const STREAMS = 8;

/** What `docker compose up` promises, of images of `version` that the engine has by then. */
export function composeCases(version: string): void {
  describe('docker compose up', () => {
    let cluster: ComposedCluster;
    beforeAll(async () => {
      cluster = await ComposedCluster.start(version);
    }, 600_000);
    afterAll(async () => {
      await cluster.stop();
      expect(await cluster.left()).toEqual([]);
    }, 120_000);

    it('answers about a picture, and nobody without a key', async () => {
      const message = ask('What is at A1?', picture('a'));
      const body = { model: 'emoji-vlm', temperature: 0, messages: [message] };
      const said = (await (await cluster.chat(body)).json()) as {
        choices: { message: { content: string } }[];
      };
      expect(said.choices[0]?.message.content).toBe('bus.');
      expect((await fetch(`${cluster.url}/v1/models`)).status).toBe(401);
    }, 60_000);

    it('has Prometheus scrape router and workers', async () => {
      const prometheus = `http://${await cluster.addressOf('prometheus')}:9090/api/v1`;
      const idsOfUp = async (): Promise<string[]> => {
        const response = await fetch(`${prometheus}/query?query=up==1`).catch(() => undefined);
        const { data } = ((await response?.json()) ?? { data: { result: [] } }) as {
          data: { result: { metric: { id?: string } }[] };
        };
        return data.result.map(({ metric }) => metric.id ?? 'router').sort();
      };
      await until(async () => (await idsOfUp()).length === 3, 120_000);
      expect(await idsOfUp()).toEqual(expect.arrayContaining(['worker-0', 'worker-1']));
    }, 180_000);

    it('loses no stream when the container of a worker is stopped and started', async () => {
      const streams = Array.from({ length: STREAMS }, async (_, index) => {
        const message = ask(`Hello! This is stream ${String(index)}.`);
        const more = { stream: true, ignore_eos: true, max_tokens: 600, seed: index };
        const response = await cluster.chat({ model: 'emoji-vlm', messages: [message], ...more });
        return await response.text();
      });
      await cluster.compose('stop', '--timeout', '40', 'worker-0');
      await cluster.compose('start', 'worker-0');
      for (const text of await Promise.all(streams)) {
        expect(text.trimEnd()).toMatch(/data: \[DONE\]$/);
        expect(text).toContain('"finish_reason":"length"');
        expect(text).not.toContain('"error"');
      }
    }, 300_000);
  });
}
