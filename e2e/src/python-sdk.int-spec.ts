import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cluster, MODEL_DIR, ROOT } from './harness.js';

const run = promisify(execFile);

/** The python of a virtual environment with the pinned SDK, kept in the build cache. */
async function python(): Promise<string> {
  const { stdout } = await run('sh', [join(ROOT, 'tools/fetch-openai-python.sh')]);
  return stdout.trim();
}

describe("OpenAI's Python SDK, unmodified", () => {
  let cluster: Cluster;
  let program: string;
  beforeAll(async () => {
    program = await python();
    cluster = await Cluster.start();
  }, 600_000);
  afterAll(() => cluster.stop());

  it('chats about a picture, streamed and not, and raises its typed errors', async () => {
    const { stdout } = await run(program, [
      join(ROOT, 'e2e/python/sdk_check.py'),
      `${cluster.url}/v1`,
      MODEL_DIR,
    ]);
    const seen = JSON.parse(stdout) as Record<string, unknown> & {
      plain: string;
      completion_tokens: number[];
    };
    expect(seen.plain).toMatch(/^\w+ at [A-D][1-4]/);
    expect(seen['streamed']).toBe(seen.plain);
    expect(seen.completion_tokens[0]).toBe(seen.completion_tokens[1]);
    expect([seen['tokens'], seen['bytes']]).toEqual([seen['scored'], seen['scored']]);
    expect(seen['scored']).not.toBe('');
    expect(seen).toMatchObject({ finite: true, tops: [20], codec: 'raw' });
    expect(seen['refused']).toBe('model_not_found');
  }, 180_000);
});
