import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { dirname, join, parse } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
/**
 * Results are written after minutes of work: better to know at the start that they cannot be.
 *
 * @throws KvcError CONFIG_INVALID when the folder of the flag's file is not there or may not be written to
 */
export async function checkOutput(path, flag = '--out') {
  await access(dirname(path), constants.W_OK).catch((cause) => {
    throw new KvcError('CONFIG_INVALID', `${flag}: ${path} cannot be written`, { cause });
  });
}
/** Writes a report as JSON to `path`, as Markdown and HTML beside it, and the Markdown to the terminal. */
export async function writeReport(path, report, rendered) {
  const { dir, name } = parse(path);
  await writeFile(path, `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(dir, `${name}.md`), rendered.markdown);
  await writeFile(join(dir, `${name}.html`), rendered.html);
  process.stdout.write(rendered.markdown);
}
//# sourceMappingURL=output.js.map
