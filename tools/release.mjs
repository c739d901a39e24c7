#!/usr/bin/env node
// Makes a release: an archive that serves on any x86-64 Linux with glibc 2.34 and Redis, its checksum and its bill of
// materials. Usage: node tools/release.mjs [--out FOLDER] [--check]
// The bytes depend on the sources alone: on neither folder, user, time nor order of files. The time in them is
// SOURCE_DATE_EPOCH, else that of the last commit. --check builds two copies of the checkout in folders of different
// names, with nothing built before, and compares.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { billOfMaterials } from './release/bill-of-materials.mjs';
import { stage } from './release/contents.mjs';
import { stageTexts } from './release/licences.mjs';

const root = resolve(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const name = `kvcapsule-${version}-linux-x64`;
const BILL = 'sbom.cdx.json';
const SUMS = 'SHA256SUMS';

function run(command, args, options = {}) {
  return execFileSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26, ...options });
}

function epochS() {
  return Number(process.env.SOURCE_DATE_EPOCH ?? run('git', ['log', '-1', '--format=%ct']));
}

function build() {
  const loud = { stdio: ['ignore', 2, 2] };
  run(process.execPath, ['tools/build-native.mjs'], loud);
  const apps = ['router', 'worker', 'cli'].map((app) => `apps/${app}/tsconfig.lib.json`);
  run(process.execPath, ['node_modules/typescript-7/bin/tsc', '-b', ...apps], loud);
  run(process.execPath, ['tools/build-console.mjs'], loud);
}

/** Files and links of a folder, in an order that no locale changes; what the set-up of a checkout takes comes first. */
function namesIn(folder) {
  const names = run('find', [folder, '!', '-type', 'd', '-printf', '%P\n']).trim().split('\n');
  const isNative = (path) => path.startsWith('native/');
  return [...names.filter(isNative).sort(), ...names.filter((path) => !isNative(path)).sort()];
}

function sha256(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function writeSums(folder) {
  const files = namesIn(folder).filter((path) => lstatSync(join(folder, path)).isFile());
  writeFileSync(join(folder, SUMS), files.map((path) => `${sha256(join(folder, path))}  ${path}\n`).join(''));
}

/** Everybody may read all, the owner may write, and what could be run by its owner can be run by all. */
function settleModes(folder) {
  for (const path of namesIn(folder).map((path) => join(folder, path)))
    if (lstatSync(path).isFile()) chmodSync(path, statSync(path).mode & 0o100 ? 0o755 : 0o644);
}

function pack(folder, out) {
  const list = namesIn(folder).map((path) => join(name, path));
  const tar = [
    ...['--create', '--format=ustar', '--numeric-owner', '--owner=0', '--group=0', `--mtime=@${epochS()}`],
    ...['-C', join(folder, '..'), '--no-recursion', '--null', '--files-from=-'],
  ];
  const plain = join(folder, '..', 'plain.tar');
  run('tar', [...tar, '--file', plain], { input: list.join('\0') });
  const archive = join(out, `${name}.tar.gz`);
  run('sh', ['-c', 'gzip -6n <"$1" >"$2"', 'sh', plain, archive]);
  writeFileSync(`${archive}.sha256`, `${sha256(archive)}  ${basename(archive)}\n`);
  return archive;
}

function release(out) {
  build();
  const scratch = mkdtempSync(join(tmpdir(), 'kvcapsule-release-'));
  const folder = join(scratch, name);
  try {
    mkdirSync(folder);
    mkdirSync(out, { recursive: true });
    stage(root, folder);
    const materials = billOfMaterials(root, folder, epochS());
    stageTexts(folder, materials);
    const bill = `${JSON.stringify(materials, null, 1)}\n`;
    writeFileSync(join(folder, BILL), bill);
    writeFileSync(join(out, `${name}.${BILL}`), bill);
    settleModes(folder);
    writeSums(folder);
    const archive = pack(folder, out);
    console.log(`${archive}  ${(statSync(archive).size / 1e6).toFixed(1)} MB`);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** A copy of the checkout as it is committed or about to be, with its packages and fetched sources, and nothing built. */
function copyOf(home) {
  mkdirSync(home, { recursive: true });
  const listed = run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard']);
  for (const path of listed.split('\0').filter(Boolean)) cpSync(join(root, path), join(home, path));
  run('cp', ['-al', join(root, 'node_modules'), join(home, 'node_modules')]);
  for (const source of globSync('.cache/ggml-*', { cwd: root }))
    cpSync(join(root, source), join(home, source), { recursive: true });
}

function releaseOf(home) {
  const out = join(home, 'out');
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(epochS()) };
  run(process.execPath, [join(home, 'tools/release.mjs'), '--out', out], {
    cwd: home,
    env,
    stdio: 'inherit',
  });
  return readdirSync(out).map((file) => `${sha256(join(out, file))}  ${file}`);
}

function check() {
  const scratch = mkdtempSync(join(tmpdir(), 'kvcapsule-twice-'));
  try {
    const homes = ['a', 'another/folder'].map((home) => join(scratch, home));
    // both before either is built: somebody may go on with his work meanwhile
    for (const home of homes) copyOf(home);
    const [first, second] = homes.map(releaseOf);
    console.log(first.join('\n'));
    if (first.join() !== second.join()) throw new Error(`the second build differs:\n${second.join('\n')}`);
    console.log('Two builds in two folders are the same bytes.');
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(root, 'release') },
    check: { type: 'boolean', default: false },
  },
});
if (values.check) check();
else release(resolve(values.out));
