// What a release holds that is no npm package, or lies inside of one, as components of CycloneDX.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** SPDX expressions of what the system brings. Their own files of copyright lie in `licenses`. */
const DEBIAN = {
  libhwy1: 'Apache-2.0',
  'libeigen3-dev': 'MPL-2.0',
  'nlohmann-json3-dev': 'MIT',
  'libstdc++6': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'libgcc-s1': 'GPL-3.0-or-later WITH GCC-exception-3.1',
};
/** Of the system, what the addon holds or is linked to. */
export const DEBIAN_PARTS = Object.keys(DEBIAN);

/** Of the names in process.versions, those that are no part but the version of an interface or of tables. */
const NODE_NUMBERS = new Set(['node', 'modules', 'napi', 'unicode', 'cldr']);
/** As Node's licence file says, which a release holds. */
const NODE_PARTS = {
  ...{ acorn: 'MIT', ada: 'MIT', amaro: 'MIT', ares: 'MIT', brotli: 'MIT', icu: 'Unicode-3.0' },
  ...{ llhttp: 'MIT', merve: 'MIT', nbytes: 'MIT', ncrypto: 'MIT', nghttp2: 'MIT', nghttp3: 'MIT' },
  ...{ ngtcp2: 'MIT', openssl: 'Apache-2.0', simdjson: 'Apache-2.0', simdutf: 'MIT', sqlite: 'blessing' },
  ...{ tz: { name: 'Public domain' }, undici: 'MIT', uv: 'MIT', uvwasi: 'MIT', v8: 'BSD-3-Clause' },
  ...{ zlib: 'Zlib', zstd: 'BSD-3-Clause' },
};

export const LIBVIPS = '@img/sharp-libvips-linux-x64';
const LGPL = 'LGPL-3.0-or-later';
/** As that package's README says, which a release holds. */
const LIBVIPS_PARTS = {
  ...{ aom: 'BSD-2-Clause', archive: 'BSD-2-Clause', cairo: 'MPL-1.1', cgif: 'MIT', exif: LGPL },
  ...{ expat: 'MIT', ffi: 'MIT', fontconfig: { name: 'fontconfig License' }, freetype: 'FTL', fribidi: LGPL },
  ...{ glib: LGPL, harfbuzz: 'MIT', heif: LGPL, highway: 'BSD-3-Clause', imagequant: 'BSD-2-Clause' },
  ...{ lcms: 'MIT', mozjpeg: 'Zlib AND IJG AND BSD-3-Clause', pango: LGPL, pixman: 'MIT' },
  ...{ png: 'libpng-2.0', 'proxy-libintl': LGPL, rsvg: LGPL, tiff: 'libtiff', uhdr: 'MIT', vips: LGPL },
  ...{ webp: 'BSD-3-Clause', xml2: 'MIT', 'zlib-ng': 'Zlib' },
};

/** An SPDX expression, or a name where SPDX has none. */
function licensesOf(licence) {
  if (typeof licence !== 'string') return [{ license: licence }];
  return licence.includes(' ') ? [{ expression: licence }] : [{ license: { id: licence } }];
}

function sha256(file) {
  return [{ alg: 'SHA-256', content: createHash('sha256').update(readFileSync(file)).digest('hex') }];
}

/** What is linked into `owner`; throws at a part whose licence nobody has looked up yet. */
function partsOf(owner, versions, licences) {
  return Object.entries(versions)
    .filter(([, version]) => version !== '')
    .map(([name, version]) => {
      if (!(name in licences)) throw new Error(`${owner} holds ${name}: say under which licence`);
      return {
        'bom-ref': `${owner}/${name}@${version}`,
        type: 'library',
        name,
        version,
        purl: `pkg:generic/${name}@${encodeURIComponent(version)}`,
        licenses: licensesOf(licences[name]),
      };
    });
}

export function libvipsParts(folder) {
  const versions = JSON.parse(readFileSync(join(folder, 'node_modules', LIBVIPS, 'versions.json'), 'utf8'));
  return partsOf(LIBVIPS, versions, LIBVIPS_PARTS);
}

export function node(folder) {
  const version = process.versions.node;
  const parts = Object.entries(process.versions).filter(([name]) => !NODE_NUMBERS.has(name));
  return {
    'bom-ref': `node@${version}`,
    type: 'platform',
    name: 'node',
    version,
    purl: `pkg:generic/node@${version}`,
    hashes: sha256(join(folder, 'bin/node')),
    licenses: licensesOf('MIT'),
    components: partsOf('node', Object.fromEntries(parts), NODE_PARTS),
  };
}

/** It has a hash by what it is taken out of. */
export function ggml(root) {
  const [file] = globSync(join(root, '.cache/ggml-*/CMakeLists.txt'));
  const text = readFileSync(file, 'utf8');
  const version = ['MAJOR', 'MINOR', 'PATCH']
    .map((part) => new RegExp(`GGML_VERSION_${part} (\\d+)`).exec(text)[1])
    .join('.');
  const fetched = readFileSync(join(root, 'tools/fetch-ggml.sh'), 'utf8');
  const [, carrier] = /^version=(\S+)$/m.exec(fetched);
  const [, integrity] = /^integrity=sha512-(\S+)$/m.exec(fetched);
  return {
    'bom-ref': `ggml@${version}`,
    type: 'library',
    name: 'ggml',
    version,
    purl: `pkg:github/ggml-org/ggml@${version}`,
    licenses: licensesOf('MIT'),
    externalReferences: [
      {
        type: 'distribution',
        url: `pkg:npm/node-llama-cpp@${carrier}`,
        hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity, 'base64').toString('hex') }],
      },
    ],
  };
}

/** Of the libraries the one that a release carries has a hash. */
export function debianPart(folder, name) {
  const format = ['-W', '-f', '${Version} ${Architecture}', name];
  const [version, architecture] = execFileSync('dpkg-query', format, { encoding: 'utf8' }).split(' ');
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}`;
  const carried = name === 'libhwy1' ? { hashes: sha256(join(folder, 'native/libhwy.so.1')) } : {};
  return {
    'bom-ref': purl,
    type: 'library',
    name,
    version,
    purl,
    ...carried,
    licenses: licensesOf(DEBIAN[name]),
  };
}
