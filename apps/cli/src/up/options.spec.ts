import { Command } from 'commander';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DEFAULT_MODEL_DIR } from '../paths.js';
import { routerArgs, workersOf } from './cluster.js';
import { type UpOptions, upOptions } from './options.js';

function parse(args: readonly string[], env: NodeJS.ProcessEnv = {}): UpOptions {
  return upOptions(new Command('up'), env)
    .parse([...args], { from: 'user' })
    .opts<UpOptions>();
}

/** What follows each occurrence of a flag. */
const given = (args: readonly string[], flag: string): (string | undefined)[] =>
  args.flatMap((arg, index) => (arg === flag ? [args[index + 1]] : []));

describe('the models of up', () => {
  it('are those of the flags, else of the environment, else the demo model', () => {
    const env = { KVCAPSULE_MODEL: 'one, two,' };
    expect(parse(['--model', 'a', '-m', 'b, c'], env).model).toEqual([resolve('a'), resolve('b, c')]);
    expect(parse([], env).model).toEqual([resolve('one'), resolve('two')]);
    expect(parse([], { KVCAPSULE_MODEL: '' }).model).toEqual([DEFAULT_MODEL_DIR]);
  });

  it('each get a group of workers, whose ids count through', () => {
    const workers = workersOf(parse(['--model', '/m/a', '--model', '/m/b', '--workers', '2']));
    expect(workers.map(({ id }) => id)).toEqual(['worker-0', 'worker-1', 'worker-2', 'worker-3']);
    expect(workers.map(({ args }) => given(args, '--id'))).toEqual(workers.map(({ id }) => [id]));
    expect(workers.flatMap(({ args }) => given(args, '--model'))).toEqual(['/m/a', '/m/a', '/m/b', '/m/b']);
    expect(new Set(workers.flatMap(({ args }) => given(args, '--threads'))).size).toBe(1);
  });

  it('share the CPUs as soon as there are two workers, whatever they serve', () => {
    expect(workersOf(parse([])).map(({ args }) => args.includes('--threads'))).toEqual([false]);
    const two = workersOf(parse(['--model', '/m/a', '--model', '/m/b']));
    expect(two.map(({ args }) => args.includes('--threads'))).toEqual([true, true]);
  });

  it('all go to the router, with their names in the same order', () => {
    const models = ['--model', '/m/a', '--model', '/m/b'];
    const args = routerArgs(parse([...models, '--served-model-name', 'x, y', '--served-model-name', 'z']));
    expect(given(args, '--model')).toEqual(['/m/a', '/m/b']);
    expect(given(args, '--served-model-name')).toEqual(['x, y', 'z']);
    expect(given(routerArgs(parse(models)), '--served-model-name')).toEqual([]);
  });
});

describe('the processes of the router', () => {
  it('are one unless a flag or the environment says more', () => {
    const processes = (args: readonly string[], env?: NodeJS.ProcessEnv) =>
      given(routerArgs(parse(args, env)), '--router-processes');
    expect(processes([])).toEqual(['1']);
    expect(processes(['--router-processes', '4'])).toEqual(['4']);
  });
});
