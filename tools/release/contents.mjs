// What a release holds, copied from a built checkout into a folder: `stage`.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { copy } from './files.mjs';
import { LICENCE, licencesIn, stageLicences } from './licences.mjs';

/** What runs: everything else of the checkout that a release holds is what these need. */
const APPS = ['@kvcapsule/router', '@kvcapsule/worker', '@kvcapsule/cli'];
const SCOPE = ['--omit', 'dev', ...APPS.flatMap((app) => ['--workspace', app])];
/** Of types, which nothing reads at run time; packages name them as if they did. */
const UNUSED = /^(typescript|@types\/.*)$/;
/** Of a package, what neither runs nor licenses it; where no file says the licence, a README may. */
const USELESS = /\.(d\.[cm]?ts|[cm]?ts|map|flow|md|markdown|tsbuildinfo)$/i;
const README = /^readme\.md$/i;
/** Folders of a workspace that its code reads; sources and tests stay behind. */
const WORKSPACE_PARTS = ['package.json', 'dist', 'lua', 'engines'];
/** Pages that the router serves. */
const CONSOLE = 'apps/console/dist';
const CONSOLE_SCOPE = ['--omit', 'dev', '--workspace', '@kvcapsule/console'];

/** A program of npm's, without its complaints about variables that the project's own Node sets. */
export function npm(root, ...args) {
  const env = { ...process.env, npm_config_loglevel: 'error', npm_config_update_notifier: 'false' };
  return execFileSync('npm', args, { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 26 });
}

/** Copies all that a release of the checkout `root` holds into `folder`, but sums and bill of materials. */
export function stage(root, folder) {
  stageEntry(root, folder);
  stageNative(root, folder);
  for (const path of packagesOf(root, SCOPE)) {
    if (path.startsWith('node_modules/')) stagePackage(root, folder, path);
    else stageWorkspace(root, folder, path);
  }
  for (const name of [
    'deploy/models/emoji-vlm',
    'deploy/observability/rules',
    'samples',
    'LICENSE',
    'NOTICE',
    'README.md',
  ])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  cpSync(join(root, CONSOLE), join(folder, CONSOLE), { recursive: true });
  trimArtwork(folder);
  stageLicences(root, folder, bundledPackages(root, folder));
}

function stageEntry(root, folder) {
  copy(join(root, 'tools/release/launcher.sh'), join(folder, 'kvcapsule'), 0o755);
  copy(process.execPath, join(folder, 'bin/node'), 0o755);
  const { name, version, license, type, engines } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  const manifest = { name, version, private: true, license, type, engines };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** The addon, the library that Debian has in no other form, and what says which sources it was built from. */
function stageNative(root, folder) {
  const addon = join(root, '.cache/native/kvcapsule.node');
  const native = join(folder, 'native');
  copy(addon, join(native, 'kvcapsule.node'), 0o755);
  const linked = execFileSync('ldd', [addon], { encoding: 'utf8' });
  const highway = /(libhwy\.so\S+) => (\S+)/.exec(linked);
  if (!highway) throw new Error(`${addon} is not linked to Highway`);
  copy(realpathSync(highway[2]), join(native, highway[1]), 0o644);
  writeFileSync(join(native, 'key'), execFileSync('sh', [join(root, 'tools/native-key.sh')]));
}

/** Of the packages that the console's pages are made of, those that are staged by no other way: folders of the root. */
export function bundledPackages(root, folder) {
  const bundled = packagesOf(root, CONSOLE_SCOPE).filter((path) => path.startsWith('node_modules/'));
  return bundled.filter((path) => !existsSync(join(folder, path)));
}

/** Folders of workspaces and packages that those of the scope need, relative to the root. */
function packagesOf(root, scope) {
  const listed = npm(root, 'ls', '--all', '--parseable', ...scope)
    .split('\n')
    .filter(Boolean)
    .map((path) => relative(root, realpathSync(path)))
    .filter((path) => path !== '' && !UNUSED.test(path.replace(/^.*node_modules\//, '')));
  return [...new Set(listed)].sort();
}

function stageWorkspace(root, folder, path) {
  const home = join(root, path);
  // a compiler leaves what it made of sources that have gone
  const isCurrent = (file) => {
    const name = relative(join(home, 'dist'), file);
    return !name.endsWith('.js') || existsSync(join(home, 'src', name.replace(/\.js$/, '.ts')));
  };
  for (const part of WORKSPACE_PARTS.filter((part) => existsSync(join(home, part))))
    cpSync(join(home, part), join(folder, path, part), {
      recursive: true,
      filter: (file) => !USELESS.test(file) && (part !== 'dist' || isCurrent(file)),
    });
  const { name } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
  const link = join(folder, 'node_modules', name);
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(relative(dirname(link), join(folder, path)), link);
}

/** Without packages inside it: those that are needed are in the list themselves. */
function stagePackage(root, folder, path) {
  const from = join(root, path);
  const hasLicence = licencesIn(from).length > 0;
  const keeps = (file) => {
    const name = basename(file);
    if (name === 'node_modules' || name === '.bin') return false;
    return LICENCE.test(name) || !USELESS.test(name) || (!hasLicence && README.test(name));
  };
  cpSync(from, join(folder, path), { recursive: true, filter: (file) => file === from || keeps(file) });
}

/** Of the icon sets, which take 180 MB, only the icons that scenes show: of a class' own name, or what that is an alias of. */
function trimArtwork(folder) {
  const { classes } = JSON.parse(readFileSync(join(folder, 'deploy/models/emoji-vlm/scenes.json'), 'utf8'));
  for (const file of globSync(join(folder, 'node_modules/@iconify-json/*/icons.json'))) {
    const set = JSON.parse(readFileSync(file, 'utf8'));
    const aliases = pick(set.aliases ?? {}, new Set(classes));
    const shown = [...classes, ...Object.values(aliases).map(({ parent }) => parent)];
    writeFileSync(file, JSON.stringify({ ...set, aliases, icons: pick(set.icons, new Set(shown)) }));
  }
}

function pick(entries, names) {
  return Object.fromEntries(Object.entries(entries).filter(([name]) => names.has(name)));
}
