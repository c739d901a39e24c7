import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../paths.js';
import { guideBlocks } from './guide-commands.js';

const run = promisify(execFile);
const DOCKERFILE = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
const SECRETS = { KVCAPSULE_API_KEYS: 'a-key-of-tests', REDIS_PASSWORD: 'of-the-tests' };

/** The client of an engine that tests started, else that of the PATH; there may be none. */
const CLIENT = [
  process.env['KVCAPSULE_TEST_DOCKER'] ?? '',
  ...(process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'docker')),
].find((path) => path !== '' && existsSync(path));

/** Commands of `docker` in all guides, each as its words. */
const commands = guideBlocks()
  .flatMap(({ script }) => script.replaceAll('\\\n', ' ').split('\n'))
  .map((line) => line.trim().split(/\s+/))
  .filter(([program]) => program === 'docker')
  .map(([, ...words]) => words);
const those = (verb: string): string[][] => commands.filter(([first]) => first === verb);

const after = (words: readonly string[], flag: string): string => words[words.indexOf(flag) + 1] ?? '';

/** What a client says to the command, with an engine that is not there. */
async function said(client: string, words: readonly string[]): Promise<string> {
  const env = { ...process.env, ...SECRETS, DOCKER_HOST: 'tcp://127.0.0.1:1', DOCKER_BUILDKIT: '0' };
  const failed = await run(client, words, { cwd: ROOT, env }).catch((error: Error) => error.message);
  return typeof failed === 'string' ? failed : failed.stderr;
}

/** All was understood; only the engine is missing. */
const NO_ENGINE = /Cannot connect to the Docker daemon|connection refused/;

/** What compose makes of the options before the verb. */
async function composed(words: readonly string[]): Promise<string> {
  const { stdout } = await run('sh', [join(ROOT, 'tools/fetch-compose.sh')]);
  const env = { PATH: process.env['PATH'], ...SECRETS };
  return (await run(stdout.trim(), [...words, 'config', '--services'], { cwd: ROOT, env })).stdout;
}

describe('the commands of docker in the guides', () => {
  it('are builds, runs, and compose', () => {
    expect(new Set(commands.map(([verb]) => verb))).toEqual(new Set(['build', 'run', 'compose']));
  });

  it.each(those('build').map((words) => [words.join(' '), words] as const))('%s', (_text, words) => {
    expect(existsSync(join(ROOT, after(words, '-f')))).toBe(true);
    expect(DOCKERFILE).toMatch(new RegExp(`^FROM \\S+ AS ${after(words, '--target')}$`, 'm'));
    expect(DOCKERFILE).toMatch(new RegExp(`^ARG ${after(words, '--build-arg').split('=')[0] ?? ''}\\b`, 'm'));
  });

  it.each(those('run').map((words) => [words.join(' '), words] as const))('%s', (_text, words) => {
    const made = those('build').map((build) => after(build, '-t'));
    expect(made).toContain(words.at(-1));
  });

  it.each(those('compose').map((words) => [words.join(' '), words] as const))(
    '%s',
    async (_text, [, ...words]) => {
      const services = await composed(words.slice(0, words.indexOf('up')));
      expect(services.trim().split('\n')).toEqual(expect.arrayContaining(['router', 'prometheus', 'redis']));
      await expect(composed([...words.slice(0, words.indexOf('up')), '--no-such'])).rejects.toThrow();
    },
    120_000,
  );

  it(`are understood by a client of docker (${CLIENT ?? 'there is none here'})`, async () => {
    if (CLIENT === undefined) return;
    for (const words of those('run')) expect(await said(CLIENT, words), words.join(' ')).toMatch(NO_ENGINE);
    for (const words of those('build'))
      expect(await said(CLIENT, words), words.join(' ')).not.toMatch(/unknown (shorthand )?flag/);
    expect(await said(CLIENT, ['run', '--no-such-flag', 'a'])).not.toMatch(NO_ENGINE);
    expect(await said(CLIENT, ['build', '--no-such-flag', '.'])).toMatch(/unknown flag/);
  });
});
