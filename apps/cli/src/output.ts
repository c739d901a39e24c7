import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { dirname, join, parse } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { renderHtml, renderMarkdown, type Report } from '@kvcapsule/reporting';

/**
 * Results are written after minutes of work: better to know at the start that they cannot be.
 *
 * @throws KvcError CONFIG_INVALID when the folder of the flag's file is not there or may not be written to
 */
export async function checkOutput(path: string, flag = '--out'): Promise<void> {
  await access(dirname(path), constants.W_OK).catch((cause: unknown) => {
    throw new KvcError('CONFIG_INVALID', `${flag}: ${path} cannot be written`, { cause });
  });
}

/** Writes results as JSON to `path`, their report as Markdown and HTML beside it, and the Markdown to the terminal. */
export async function writeReport(path: string, results: unknown, report: Report): Promise<void> {
  await writeFile(path, `${JSON.stringify(results, null, 2)}\n`);
  await writePages(path, report);
}

/** Writes a report as Markdown and HTML beside the results at `path`, and has the Markdown shown. */
export async function writePages(
  path: string,
  report: Report,
  show: (markdown: string) => void = (markdown) => process.stdout.write(markdown),
): Promise<void> {
  const { dir, name } = parse(path);
  const markdown = renderMarkdown(report);
  await writeFile(join(dir, `${name}.md`), markdown);
  await writeFile(join(dir, `${name}.html`), renderHtml(report));
  show(markdown);
}
