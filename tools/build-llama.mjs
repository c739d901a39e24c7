#!/usr/bin/env node
// Builds the llama.cpp peer of `kvcapsule bench engine` from the same source bundle as the engine's ggml, with
// llama.cpp's own default options for this machine. Usage: node tools/build-llama.mjs
// Prints where the driver is. The first build takes minutes; a later one looks and compiles nothing.
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const cache = join(root, '.cache');
const buildDir = join(cache, 'llama.cpp-build');

/** Runs a command with its output on stderr, or captured. */
function run(command, args, capture = false) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', capture ? 'pipe' : 2, 'inherit'],
  });
  if (result.error) throw new Error(`${command}: ${result.error.message}`);
  if (result.status !== 0) throw new Error(`${command} ended with ${result.status ?? result.signal}`);
  return capture ? result.stdout.trim() : '';
}

const source = run('sh', ['tools/fetch-ggml.sh', cache, '--whole'], true).split('\n').at(-1);
run('cmake', [
  ...['-S', 'bench/llama.cpp', '-B', buildDir, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release'],
  ...['-DCMAKE_CXX_FLAGS=-w', '-DCMAKE_C_FLAGS=-w', `-DLLAMA_SOURCE=${source}`],
]);
run('cmake', ['--build', buildDir, '--target', 'llama-peer']);
console.log(join(buildDir, 'llama-peer'));
