// What a release is made of, as CycloneDX 1.5: npm's list of packages, and what npm knows nothing of.
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundledPackages, npm } from './contents.mjs';
import { DEBIAN_PARTS, debianPart, ggml, LIBVIPS, libvipsParts, node } from './parts.mjs';

/**
 * @param root the checkout
 * @param folder what was staged from it
 * @param {number} epochS the time of the release, in seconds since 1970
 */
export function billOfMaterials(root, folder, epochS) {
  // of all workspaces: npm leaves out packages that another of them has as a development dependency
  const bill = JSON.parse(npm(root, 'sbom', '--sbom-format', 'cyclonedx'));
  const shipped = packagesIn(root, folder);
  const packages = bill.components.filter(({ purl }) => shipped.has(purl)).map(packageOf(folder));
  const others = [node(folder), ggml(root), ...DEBIAN_PARTS.map((name) => debianPart(folder, name))];
  const components = sortedBy('bom-ref', [...packages, ...others]);
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

/** Package URLs of all npm packages in a folder, workspaces included, and of those that the console's pages hold. */
function packagesIn(root, folder) {
  const names = globSync('{apps,libs}/*/package.json', { cwd: folder }).concat(
    globSync('**/node_modules/{*,@*/*}/package.json', { cwd: folder }),
  );
  const files = [
    ...names.map((name) => join(folder, name)),
    ...['apps/console', ...bundledPackages(root, folder)].map((path) => join(root, path, 'package.json')),
  ];
  return new Set(
    files.map((file) => {
      const manifest = JSON.parse(readFileSync(file, 'utf8'));
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

/** A package by its whole name, where npm says a workspace's folder, and of one what it has linked statically. */
function packageOf(folder) {
  return (component) => {
    const name = decodeURIComponent(/^pkg:npm\/(.+)@/.exec(component.purl)[1]);
    const required = { ...component, name, scope: 'required' };
    return name === LIBVIPS ? { ...required, components: libvipsParts(folder) } : required;
  };
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
