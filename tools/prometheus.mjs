// Prometheus, promtool, Alertmanager and amtool for tests: `node tools/prometheus.mjs` prints the folder that has them.
// That is the machine's own where they are installed, else Debian's packages, unpacked into the cache: no service starts.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';

const PACKAGES = ['prometheus', 'prometheus-alertmanager'];
const PROGRAMS = ['prometheus', 'promtool', 'prometheus-alertmanager', 'amtool'];

const hasAll = (folder) => PROGRAMS.every((name) => existsSync(join(folder, name)));

const installed = (process.env.PATH ?? '').split(delimiter).find(hasAll);
const root = resolve(import.meta.dirname, '../.cache/tools/prometheus');
if (installed === undefined)
  execFileSync(join(import.meta.dirname, 'unpack-packages.sh'), [root, ...PACKAGES], {
    stdio: ['ignore', 2, 2],
  });
process.stdout.write(installed ?? join(root, 'usr/bin'));
