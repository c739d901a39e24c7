#!/usr/bin/env node
// A machine with next to nothing on it, for tests of what claims to need nothing: Debian's C and C++ libraries, a
// shell with its basic commands, and Redis, unpacked (nothing is installed) into the build cache.
// Usage: node tools/bare-root.mjs     prints the folder. Needs apt-get and dpkg.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

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
const name = createHash('sha256').update(PACKAGES.join(' ')).digest('hex').slice(0, 12);
const root = resolve(import.meta.dirname, '../.cache/bare-root', name);

execFileSync(join(import.meta.dirname, 'unpack-packages.sh'), [root, ...PACKAGES], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
for (const folder of ['dev', 'proc', 'opt', 'tmp']) mkdirSync(join(root, folder), { recursive: true });
writeFileSync(
  join(root, 'etc/passwd'),
  'root:x:0:0::/:/bin/sh\nkvcapsule:x:10001:10001::/nonexistent:/bin/sh\n',
);
if (!existsSync(join(root, 'usr/bin/sh'))) symlinkSync('dash', join(root, 'usr/bin/sh'));
console.log(root);
