import { execFile } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ROOT } from './paths.js';

vi.setConfig({ testTimeout: 60_000 });

const run = promisify(execFile);
const COMPILERS = ['g++', 'c++', 'cmake', 'ninja'];
const TOOLS = ['take-native.sh', 'native-key.sh', 'fetch-ggml.sh', 'build-native.mjs'].map(
  (name) => `tools/${name}`,
);

/** A checkout with sources of its own, and a place for releases elsewhere. */
let root: string;
let elsewhere: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kvc-take-'));
  elsewhere = mkdtempSync(join(tmpdir(), 'kvc-releases-'));
  for (const file of ['kvcapsule', 'libs/engine/package.json', ...TOOLS]) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    copyFileSync(join(ROOT, file), join(root, file));
  }
  for (const name of ['src', 'addon', 'include']) mkdirSync(join(root, 'native', name), { recursive: true });
  writeFileSync(join(root, 'native/CMakeLists.txt'), 'project(tiny)\n');
});

afterEach(() => {
  for (const folder of [root, elsewhere]) rmSync(folder, { recursive: true, force: true });
});

/** An archive as releases are, with an engine of this content for the checkout's sources. */
async function release(folder: string, engine: string): Promise<string> {
  const name = 'kvcapsule-1.2.3-linux-x64';
  const native = join(elsewhere, name, 'native');
  for (const path of [native, folder]) mkdirSync(path, { recursive: true });
  const { stdout: key } = await run(join(root, 'tools/native-key.sh'));
  for (const [file, text] of Object.entries({ key, 'kvcapsule.node': engine, 'libhwy.so.1': 'highway' }))
    writeFileSync(join(native, file), text);
  const archive = join(folder, `${name}.tar.gz`);
  await run('tar', ['-czf', archive, '-C', elsewhere, name]);
  const { stdout: sum } = await run('sha256sum', [`${name}.tar.gz`], { cwd: folder });
  writeFileSync(`${archive}.sha256`, sum);
  return archive;
}

interface Ended {
  readonly code: number;
  readonly stderr: string;
}

async function ended(program: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  try {
    const { stderr } = await run(join(root, program), args, { env: { ...process.env, ...env } });
    return { code: 0, stderr };
  } catch (error) {
    return error as Ended;
  }
}

const take = (env?: Record<string, string>) => ended('tools/take-native.sh', [], env);
const native = (file: string) => join(root, '.cache/native', file);

it('takes the engine from the folder of releases, with the library beside it, once', async () => {
  const archive = await release(join(root, 'release'), 'engine');
  expect(await take()).toMatchObject({ code: 0 });
  expect(readFileSync(native('kvcapsule.node'), 'utf8')).toBe('engine');
  expect(readFileSync(native('libhwy.so.1'), 'utf8')).toBe('highway');
  expect(readdirSync(native('')).sort()).toEqual(['kvcapsule.node', 'libhwy.so.1', 'taken']);
  rmSync(archive);
  expect(await take()).toMatchObject({ code: 0 });
});

it('takes it from the file that is named', async () => {
  const archive = await release(elsewhere, 'engine');
  expect(await take()).toMatchObject({ code: 1 });
  expect(await take({ KVCAPSULE_RELEASE: archive })).toMatchObject({ code: 0 });
  expect(readFileSync(native('kvcapsule.node'), 'utf8')).toBe('engine');
});

it.each(['native/CMakeLists.txt', 'native/src/new.cc', 'tools/fetch-ggml.sh', 'tools/build-native.mjs'])(
  'takes none that was built from another %s',
  async (file) => {
    await release(join(root, 'release'), 'engine');
    expect(await take()).toMatchObject({ code: 0 });
    writeFileSync(join(root, file), 'another\n');
    expect(await take()).toMatchObject({ code: 1 });
  },
);

it('refuses an archive that is damaged, has no checksum or is not there, and says so', async () => {
  const archive = await release(join(root, 'release'), 'engine');
  const sum = readFileSync(`${archive}.sha256`, 'utf8');
  writeFileSync(
    `${archive}.sha256`,
    sum.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
  );
  expect(await take()).toMatchObject({ code: 2, stderr: expect.stringContaining('is damaged') as string });
  rmSync(`${archive}.sha256`);
  expect(await take()).toMatchObject({ code: 2, stderr: expect.stringContaining('no checksum') as string });
  const named = { KVCAPSULE_RELEASE: join(elsewhere, 'none.tar.gz') };
  expect(await take(named)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('is not there') as string,
  });
  expect(existsSync(native('kvcapsule.node'))).toBe(false);
});

/** This machine without compilers, and with an apt-get that installs nothing. */
function withoutCompilers(): Record<string, string> {
  const bin = join(elsewhere, 'bin');
  mkdirSync(bin);
  const folders = ['/usr/local/bin', '/usr/bin', '/usr/sbin'].filter((folder) => existsSync(folder));
  for (const folder of folders)
    for (const name of readdirSync(folder))
      if (![...COMPILERS, 'apt-get'].includes(name) && !existsSync(join(bin, name)))
        symlinkSync(join(folder, name), join(bin, name));
  for (const [file, text] of Object.entries({ 'apt-get': 'exit 1', sudo: 'exec "$@"' })) {
    rmSync(join(bin, file), { force: true });
    writeFileSync(join(bin, file), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, file), 0o755);
  }
  writeFileSync(join(root, 'tools/toolchain.sh'), `PATH=$PATH:${dirname(process.execPath)}\n`);
  writeFileSync(join(root, 'tools/npm-current.mjs'), 'process.exit(0);\n');
  return { PATH: bin, KVCAPSULE_RELEASE: '' };
}

it('spares the first start the compiler and its packages', async () => {
  const env = withoutCompilers();
  const without = await ended('kvcapsule', ['up'], env);
  expect(without.stderr).toMatch(/Debian packages to install:.* g\+\+ cmake ninja-build/);
  await release(join(root, 'release'), 'engine');
  const { stderr } = await ended('kvcapsule', ['up'], env);
  expect(stderr).toContain('native engine: from ');
  // there is no TypeScript in this checkout, so the set-up ends there
  expect(stderr).toContain('FAILED: typescript');
  expect(stderr).not.toMatch(/Debian packages|tensor library/);
  expect(existsSync(join(root, '.cache/log/native.log'))).toBe(false);
  expect(readFileSync(native('kvcapsule.node'), 'utf8')).toBe('engine');
});
