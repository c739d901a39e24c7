import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';
import { commandsOf, type GuideBlock, guideBlocks } from './guide-commands.js';

const MAIN = join(ROOT, 'apps/cli/dist/main.js');
/** With --full also what takes minutes. */
const IS_FULL = process.env['KVCAPSULE_TEST_FULL'] !== undefined;

/** A block whose fence says what it needs is not run; `guide-commands.spec.ts` holds its commands to the CLI. */
const NEEDS: Readonly<Record<string, string>> = {
  up: 'it starts a cluster that stays; this test runs on one',
  machines: 'it names other machines, folders or stores',
  release: 'it takes the archive of a release',
  vllm: 'it starts vLLM',
  docker: 'docker-guide.int-spec.ts gives it to a client of Docker and to compose',
  kubernetes: 'helm/src/guide.int-spec.ts gives it to helm and kubectl',
  minutes: 'it takes minutes: run with --full',
  load: 'it loads a server: run with --full',
  hours: 'it takes hours',
  plain: 'its fence is not marked `sh`',
};
const isRun = ({ needs }: GuideBlock): boolean =>
  needs === '' || (IS_FULL && (needs === 'minutes' || needs === 'load'));

const blocks = guideBlocks();
let folder: string;
let up: ChildProcess;
let url: string;

/** A cluster that all blocks ask, and a folder that looks like a checkout to them. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'kvc-guides-'));
  for (const name of ['samples', 'deploy', 'tools']) symlinkSync(join(ROOT, name), join(folder, name));
  up = spawn(process.execPath, [MAIN, 'up', '--port', '0', '--pool-mib', '64'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [up.stdout, up.stderr])
    stream?.on('data', (data: Buffer) => (said += data.toString()));
  for (;;) {
    const found = / at (http:\S+)\/v1/.exec(said)?.[1];
    if (found !== undefined) {
      url = found;
      return;
    }
    if (up.exitCode !== null) throw new Error(`up ended: ${said}`);
    await sleep(50);
  }
}, 240_000);

afterAll(async () => {
  const gone = up.exitCode === null ? once(up, 'exit') : undefined;
  up.kill('SIGTERM');
  await gone;
  rmSync(folder, { recursive: true });
}, 180_000);

/** The block as a shell runs it, against the private cluster and the built CLI. */
async function run({ script }: GuideBlock): Promise<{ code: number; text: string }> {
  const here = script
    .replaceAll('./kvcapsule ', `node ${MAIN} `)
    .replaceAll('http://127.0.0.1:8000', url)
    .replaceAll(/ \.\.\.(?= |$)/gm, ' --redis redis://127.0.0.1:6379 --model deploy/models/emoji-vlm');
  const env = { ...process.env, KVCAPSULE_URL: url };
  const child = spawn('bash', ['-euo', 'pipefail', '-c', here], { cwd: folder, env });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (text += data.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, text };
}

describe('the commands of README and guides', () => {
  it('say in their fences what they need that is not here', () => {
    const unknown = blocks.filter(({ needs }) => needs !== '' && !Object.hasOwn(NEEDS, needs));
    expect(unknown).toEqual([]);
    const lines = blocks.map((block) => {
      const { file, line, needs } = block;
      const how = isRun(block) ? 'run' : `its commands of the CLI parsed only (${NEEDS[needs] ?? needs})`;
      const commands = commandsOf(block.script).map((words) => `kvcapsule ${words.join(' ')}`);
      return `${file}:${String(line)} ${how}: ${commands.join('; ') || (block.script.split('\n')[0] ?? '')}`;
    });
    process.stdout.write(`${lines.join('\n')}\n`);
    expect(blocks.filter(isRun).length).toBeGreaterThan(9);
  });

  it.each(blocks.filter(isRun).map((block) => [block.file, block.line, block] as const))(
    '%s:%i runs',
    async (_file, _line, block) => {
      const { code, text } = await run(block);
      expect(text).not.toMatch(/"error"/);
      expect(code, text).toBe(0);
    },
    IS_FULL ? 1_800_000 : 120_000,
  );
});
