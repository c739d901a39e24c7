#!/usr/bin/env node
// Builds the native engine. Usage: node tools/build-native.mjs [--tests | --odr]
// Prints where the addon is: .cache/native/kvcapsule.node. Builds are kept by content in .cache/native/KEY/,
// so a second call, or a return to sources built before, copies a file and runs no compiler.
// --tests builds the test binaries too (native/build, for ctest); those are never taken from the cache.
// --odr builds no addon: it links all native code as one program, without optimising it (native/build-odr), and fails
// where two types have one name. What has passed is kept by content too.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const cache = join(root, '.cache');
const nativeCache = join(cache, 'native');
const buildDir = join(root, 'native', 'build');
const odrDir = join(root, 'native', 'build-odr');
const addonName = 'kvcapsule.node';

/** Runs a command; its output goes to stderr unless it is captured. */
function run(command, args, { capture = false } = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', capture ? 'pipe' : 2, 'inherit'],
  });
  if (result.error) throw new Error(`${command}: ${result.error.message}`);
  if (result.status !== 0)
    throw new Error(`${command} ${args[0] ?? ''} ended with ${result.status ?? result.signal}`);
  return capture ? result.stdout.trim() : '';
}

/** Folders of node_api.h (Node's own headers, else the npm package) and napi.h. */
function nodeIncludes() {
  const require = createRequire(import.meta.url);
  const own = process.env.NODE_INC ?? resolve(process.execPath, '..', '..', 'include', 'node');
  const api = existsSync(join(own, 'node_api.h')) ? own : require('node-api-headers').include_dir;
  return [api, dirname(require.resolve('node-addon-api/napi.h'))].map((path) => resolve(root, path));
}

/** Names everything that a build depends on. */
function buildKey(includes) {
  const hash = createHash('sha256');
  const add = (name, content) => hash.update(`${name}\0${content.length}\0`).update(content);
  add('sources', run('sh', ['tools/native-key.sh'], { capture: true }));
  add('compiler', run(process.env.CXX ?? 'c++', ['--version'], { capture: true }));
  add('node', readFileSync(join(includes[0], 'node_api.h')));
  add('napi', readFileSync(join(includes[1], 'napi.h')));
  return hash.digest('hex').slice(0, 32);
}

/** Copies by way of a rename: nobody ever loads half a file, and a loaded one stays as it was. */
function publish(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  const temporary = `${to}.${process.pid}`;
  copyFileSync(from, temporary);
  renameSync(temporary, to);
}

function compile(folder, target, options) {
  const ggml = run('sh', ['tools/fetch-ggml.sh', cache], { capture: true }).split('\n').at(-1);
  mkdirSync(nativeCache, { recursive: true });
  // two builds at once in one folder would spoil it: the second waits
  const locked = (...command) => run('flock', [join(nativeCache, 'lock'), ...command]);
  locked(
    'cmake',
    '-S',
    'native',
    '-B',
    folder,
    '-G',
    'Ninja',
    '-DCMAKE_BUILD_TYPE=Release',
    ...options,
    `-DKVCAPSULE_GGML_SOURCE=${ggml}`,
    `-DKVCAPSULE_NODE_INCLUDE=${includes.join(';')}`,
  );
  locked('cmake', '--build', folder, '--target', target);
}

function buildAddon(keptDir, withTests) {
  const kept = join(keptDir, addonName);
  if (withTests || !existsSync(kept)) {
    compile(buildDir, withTests ? 'all' : 'kvcapsule', [`-DBUILD_TESTING=${withTests ? 'ON' : 'OFF'}`]);
    publish(join(buildDir, 'addon', addonName), kept);
  }
  const addon = join(nativeCache, addonName);
  // what was taken from a release goes first: its name must never stand beside another addon
  rmSync(join(nativeCache, 'taken'), { force: true });
  publish(kept, addon);
  console.log(addon);
}

function checkDefinitions(keptDir) {
  const passed = join(keptDir, 'one-definition');
  if (existsSync(passed)) return;
  compile(odrDir, 'kvcapsule_odr', ['-DBUILD_TESTING=OFF', '-DKVCAPSULE_ODR=ON']);
  mkdirSync(keptDir, { recursive: true });
  writeFileSync(passed, '');
}

const includes = nodeIncludes();
const keptDir = join(nativeCache, buildKey(includes));
if (process.argv.includes('--odr')) checkDefinitions(keptDir);
else buildAddon(keptDir, process.argv.includes('--tests'));
