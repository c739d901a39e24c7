#!/usr/bin/env node
// A machine with next to nothing on it, for tests of what claims to need nothing: Debian's C and C++ libraries, a
// shell with its basic commands, and Redis, unpacked (nothing is installed) into the build cache.
// Usage: node tools/bare-root.mjs [FOLDER SCRIPT]     prints where it is, or, as root, runs a shell script in it, in the
// folder that is given. Needs apt-get and dpkg.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

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

/** With the folder mounted, not copied, and all processes of the script gone at its end. */
function runIn(folder, script) {
  const home = mkdtempSync(join(root, 'opt', 'release-'));
  const mounts = [
    `mount --bind '${resolve(folder)}' '${home}'`,
    `mount --bind /dev '${root}/dev'`,
    `mount -t proc proc '${root}/proc'`,
  ];
  const enter = `${mounts.join(' && ')} && exec chroot '${root}' /bin/sh -c "$1"`;
  const inside = `cd /opt/${basename(home)}; ${script}`;
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp' };
  const apart = ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', enter, 'sh', inside];
  const { status } = spawnSync('unshare', apart, { env, stdio: ['ignore', 'inherit', 'inherit'] });
  rmdirSync(home);
  return status ?? 1;
}

const [folder, script] = process.argv.slice(2);
if (script === undefined) console.log(root);
else process.exitCode = runIn(folder, script);
