// What a release is made of, as CycloneDX 1.5: npm's list of packages, and what npm knows nothing of.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEBIAN_PARTS, npm } from './contents.mjs';

const LIBVIPS = '@img/sharp-libvips-linux-x64';

/**
 * @param root the checkout
 * @param folder what was staged from it
 * @param {number} epochS the time of the release, in seconds since 1970
 */
export function billOfMaterials(root, folder, epochS) {
  // of all workspaces: npm leaves out packages that another of them has as a development dependency
  const bill = JSON.parse(npm(root, 'sbom', '--sbom-format', 'cyclonedx'));
  const shipped = packagesIn(folder);
  const packages = bill.components.filter(({ purl }) => shipped.has(purl)).map(withParts(folder));
  const components = sortedBy('bom-ref', [...packages, node(), ggml(root), ...DEBIAN_PARTS.map(debianPart)]);
  const subject = subjectOf(folder);
  const refs = new Set(components.map((component) => component['bom-ref']));
  const links = bill.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((to) => refs.has(to)).sort() }));
  const { $schema, bomFormat, specVersion, version, metadata } = bill;
  const made = {
    metadata: {
      timestamp: new Date(epochS * 1000).toISOString(),
      lifecycles: metadata.lifecycles,
      tools: metadata.tools,
      component: subject,
    },
    components,
    dependencies: sortedBy('ref', [{ ref: subject['bom-ref'], dependsOn: [...refs].sort() }, ...links]),
  };
  const serialNumber = `urn:uuid:${uuidOf(JSON.stringify(made))}`;
  return { $schema, bomFormat, specVersion, serialNumber, version, ...made };
}

/** Package URLs of all npm packages in a folder, workspaces included. */
function packagesIn(folder) {
  const names = globSync('{apps,libs}/*/package.json', { cwd: folder }).concat(
    globSync('**/node_modules/{*,@*/*}/package.json', { cwd: folder }),
  );
  return new Set(
    names.map((name) => {
      const manifest = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      return `pkg:npm/${manifest.name?.replace('@', '%40')}@${manifest.version}`;
    }),
  );
}

function subjectOf(folder) {
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return {
    'bom-ref': `kvcapsule@${version}`,
    type: 'application',
    name: 'kvcapsule',
    version,
    purl: `pkg:generic/kvcapsule@${version}`,
    licenses: [{ license: { id: license } }],
  };
}

/** Of one package, what it has linked statically: it says so in a file of its own. */
function withParts(folder) {
  return (component) => {
    const required = { ...component, scope: 'required' };
    if (component.name !== LIBVIPS) return required;
    const versions = JSON.parse(readFileSync(join(folder, 'node_modules', LIBVIPS, 'versions.json'), 'utf8'));
    return { ...required, components: partsOf(LIBVIPS, versions) };
  };
}

function partsOf(owner, versions) {
  return Object.entries(versions)
    .filter(([, version]) => version !== '')
    .map(([name, version]) => ({ 'bom-ref': `${owner}/${name}@${version}`, type: 'library', name, version }));
}

function node() {
  const { node: version, ...parts } = process.versions;
  return {
    'bom-ref': `node@${version}`,
    type: 'platform',
    name: 'node',
    version,
    purl: `pkg:generic/node@${version}`,
    licenses: [{ license: { id: 'MIT' } }],
    components: partsOf('node', parts),
  };
}

function ggml(root) {
  const [file] = globSync(join(root, '.cache/ggml-*/CMakeLists.txt'));
  const text = readFileSync(file, 'utf8');
  const version = ['MAJOR', 'MINOR', 'PATCH']
    .map((part) => new RegExp(`GGML_VERSION_${part} (\\d+)`).exec(text)[1])
    .join('.');
  return {
    'bom-ref': `ggml@${version}`,
    type: 'library',
    name: 'ggml',
    version,
    purl: `pkg:github/ggml-org/ggml@${version}`,
    licenses: [{ license: { id: 'MIT' } }],
  };
}

function debianPart(name) {
  const format = ['-W', '-f', '${Version} ${Architecture}', name];
  const [version, architecture] = execFileSync('dpkg-query', format, { encoding: 'utf8' }).split(' ');
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`;
  return { 'bom-ref': purl, type: 'library', name, version, purl };
}

/** The same for the same content: random ones would make every build another. */
function uuidOf(text) {
  const hex = createHash('sha256').update(text).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

function sortedBy(key, entries) {
  return entries.sort((a, b) => (a[key] < b[key] ? -1 : 1));
}
