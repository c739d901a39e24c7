// Writes docs/reference/cli.md from the commands of the CLI, which must be built: node tools/cli-reference.mjs
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const dist = join(root, 'apps/cli/dist');
const { createProgram } = await import(join(dist, 'program.js'));
const { commandTree } = await import(join(dist, 'reference/command-tree.js'));
const { referencePage } = await import(join(dist, 'reference/reference-page.js'));
writeFileSync(join(root, 'docs/reference/cli.md'), referencePage(commandTree(await createProgram())));
