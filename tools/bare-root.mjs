#!/usr/bin/env node
// A machine with next to nothing on it, for tests of what claims to need nothing: Debian's C and C++ libraries, a
// shell with its basic commands, and Redis, unpacked (nothing is installed) into the build cache.
// Usage: node tools/bare-root.mjs     prints the folder. Needs apt-get and dpkg.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const CACHE = resolve(import.meta.dirname, '../.cache/bare-root');
const ROOT = join(CACHE, 'root');
const PACKAGES = [
  ...['libc6', 'libstdc++6', 'libgcc-s1', 'base-files', 'netbase'],
  ...[
    'dash',
    'sed',
    'gzip',
    'tar',
    'coreutils',
    'libacl1',
    'libattr1',
    'libselinux1',
    'libpcre2-8-0',
    'libgmp10',
  ],
  // setpriv, by which Redis ends with what started it
  ...['util-linux', 'libcap-ng0'],
  ...[
    'redis-server',
    'redis-tools',
    'libatomic1',
    'libjemalloc2',
    'liblua5.1-0',
    'lua-bitop',
    'lua-cjson',
    'liblzf1',
  ],
  ...[
    'libssl3',
    'libsystemd0',
    'libcap2',
    'libgcrypt20',
    'libgpg-error0',
    'liblzma5',
    'liblz4-1',
    'libzstd1',
  ],
];
/** Folders that Debian has merged into those of /usr. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];

function unpack() {
  rmSync(CACHE, { recursive: true, force: true });
  const packages = join(CACHE, 'packages');
  mkdirSync(packages, { recursive: true });
  execFileSync('apt-get', ['download', '-qq', ...PACKAGES], {
    cwd: packages,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  for (const name of MERGED) {
    mkdirSync(join(ROOT, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(ROOT, name));
  }
  execFileSync('sh', ['-c', `for package in *.deb; do dpkg -x "$package" '${ROOT}'; done`], {
    cwd: packages,
  });
  for (const name of ['dev', 'proc', 'opt', 'tmp']) mkdirSync(join(ROOT, name), { recursive: true });
  writeFileSync(
    join(ROOT, 'etc/passwd'),
    'root:x:0:0::/:/bin/sh\nkvcapsule:x:10001:10001::/nonexistent:/bin/sh\n',
  );
  if (!existsSync(join(ROOT, 'usr/bin/sh'))) symlinkSync('dash', join(ROOT, 'usr/bin/sh'));
  rmSync(packages, { recursive: true });
  writeFileSync(join(CACHE, 'ready'), PACKAGES.join(' '));
}

const ready = join(CACHE, 'ready');
if (!existsSync(ready) || readFileSync(ready, 'utf8') !== PACKAGES.join(' ')) unpack();
console.log(ROOT);
