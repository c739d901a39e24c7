// Prometheus, promtool, Alertmanager and amtool for tests: `node tools/prometheus.mjs` prints the folder that has them.
// That is the machine's own where they are installed, else Debian's packages, unpacked into the cache: no service starts.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';

const CACHE = resolve(import.meta.dirname, '../.cache/tools');
const PACKAGES = ['prometheus', 'prometheus-alertmanager'];
const PROGRAMS = ['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool'];

const hasAll = (folder) => PROGRAMS.every((name) => existsSync(join(folder, name)));

function unpack(root) {
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'unpack-'));
  try {
    execFileSync('apt-get', ['download', '-qq', ...PACKAGES], { cwd: work, stdio: ['ignore', 2, 2] });
    execFileSync('sh', ['-c', 'for package in *.deb; do dpkg -x "$package" root; done'], { cwd: work });
    // whoever unpacks beside this one has the same
    if (!existsSync(root)) renameSync(join(work, 'root'), root);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const installed = (process.env.PATH ?? '').split(delimiter).find(hasAll);
const root = join(CACHE, 'prometheus');
if (installed === undefined && !hasAll(join(root, 'usr/bin'))) unpack(root);
process.stdout.write(installed ?? join(root, 'usr/bin'));
