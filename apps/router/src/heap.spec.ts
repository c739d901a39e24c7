import { spawnSync } from 'node:child_process';
import { stripTypeScriptTypes } from 'node:module';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { giveBackMemory, lendMemory } from './heap.js';
import { type PreparedPrompt, PromptPreparer } from './prepare/prompt-preparer.port.js';
import { failed, finished, type Script, started } from './testing/fake-worker.js';
import { Harness, until } from './testing/harness.js';

const SOURCE = new URL('heap.ts', import.meta.url);

it('sets flags that this V8 knows', () => {
  const code = `${stripTypeScriptTypes(readFileSync(SOURCE, 'utf8'))}\ntuneHeap();`;
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--no-warnings', '--input-type=module', '-e', code],
    {
      encoding: 'utf8',
    },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

describe('memory that is given back', () => {
  it('is gone from every view of it', () => {
    const body = Buffer.alloc(Buffer.poolSize * 2);
    const picture = body.subarray(100, 200);
    giveBackMemory(picture);
    expect([body.length, picture.length]).toEqual([0, 0]);
  });

  it('is all of a buffer that has its own, however small', () => {
    const chunk = Buffer.allocUnsafeSlow(10);
    giveBackMemory(chunk);
    expect(chunk.length).toBe(0);
  });

  it('is none of what is lent, until all have returned it', () => {
    const file = Buffer.alloc(Buffer.poolSize * 2);
    const returns = [lendMemory(file), lendMemory(file.subarray(100))];
    const lengths = returns.map((giveBack) => {
      giveBackMemory(file);
      const { length } = file;
      giveBack();
      return length;
    });
    giveBackMemory(file);
    expect([...lengths, file.length]).toEqual([Buffer.poolSize * 2, Buffer.poolSize * 2, 0]);
  });

  it('is none of what strangers share', () => {
    const [one, other] = [Buffer.from('one'), Buffer.from('other')];
    giveBackMemory(one);
    expect([String(one), String(other)]).toEqual(['one', 'other']);
  });
});

const FILE_BYTES = 200_000;

/** Gives every prompt the one picture. */
class OnePicture extends PromptPreparer {
  readonly contextTokens = 64;
  readonly processorRevision = 'p';
  readonly encoded = Buffer.alloc(FILE_BYTES, 7);

  prepare(): Promise<PreparedPrompt> {
    const picture = { sha256: Buffer.alloc(32), offset: 0, length: 4, markerRows: [], param: 'messages' };
    return Promise.resolve({ tokenIds: [1, 2, 3, 4], pictures: [{ ...picture, encoded: this.encoded }] });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

describe('the memory of a picture', () => {
  let router: Harness;
  afterEach(() => router.stop());

  it('is there for every worker that is asked, and given back when the answer is complete', async () => {
    const preparer = new OnePicture();
    router = await new Harness().start({}, 2, preparer);
    const files: Buffer[] = [];
    const script: Script = async (request, say, _signal, need) => {
      files.push(await need(0));
      if (files.length === 1) say(failed('DRAINING', 'elsewhere'));
      else say(started(), finished(request, 1));
    };
    for (const worker of router.workers) worker.script = script;
    expect((await router.chat()).status).toBe(200);
    expect(files.map((file) => file.equals(Buffer.alloc(FILE_BYTES, 7)))).toEqual([true, true]);
    await until(() => preparer.encoded.length === 0);
  });
});
