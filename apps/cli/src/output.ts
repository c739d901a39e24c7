import { constants } from 'node:fs';
import { access, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, parse } from 'node:path';
import { KvcError } from '@kvcapsule/contracts';
import { renderHtml, renderMarkdown, type Report } from '@kvcapsule/reporting';
import { CliError } from './failure.js';

/**
 * Results are written after minutes of work: better to know at the start that they cannot be.
 *
 * @throws KvcError CONFIG_INVALID when the folder of the flag's file is not there or may not be written to, or the file
 *   may not, or is none
 */
export async function checkOutput(path: string, flag = '--out'): Promise<void> {
  const unwritable = (cause?: unknown) =>
    new KvcError('CONFIG_INVALID', `${flag}: ${path} cannot be written`, { cause });
  await access(dirname(path), constants.W_OK).catch((cause: unknown) => {
    throw unwritable(cause);
  });
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) throw unwritable();
  if (found)
    await access(path, constants.W_OK).catch((cause: unknown) => {
      throw unwritable(cause);
    });
}

/** Results that get pages: the same, and of these none is the results' own file. */
export async function checkResults(path: string): Promise<void> {
  const pages = pathsOfPages(path);
  if (pages.includes(path))
    throw new KvcError('CONFIG_INVALID', `--out: ${path} is JSON, and a page beside it has this name`);
  for (const one of [path, ...pages]) await checkOutput(one);
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';

/** All of it or nothing: what stood there before stays until the new file is whole. */
async function writeWhole(path: string, text: string): Promise<void> {
  const part = `${path}.part`;
  try {
    await writeFile(part, text);
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/**
 * Writes what took minutes to measure, with its pages. Where that fails it goes to the folder for temporary files, and
 * has been shown before.
 *
 * @throws CliError when it is not where it was to be, saying where it is
 */
export async function keepResults(path: string, json: string, report: Report): Promise<void> {
  try {
    await writeWhole(path, json);
  } catch (error) {
    const spare = join(tmpdir(), `kvcapsule-${process.pid}-${basename(path)}`);
    const isKept = await writeWhole(spare, json).then(
      () => true,
      () => false,
    );
    throw new CliError(
      `${path} cannot be written${codeOf(error)}`,
      isKept ? `The results are in ${spare}.` : 'The results stand above, and nowhere else.',
    );
  }
  await writePages(path, report, () => undefined).catch((error: unknown) => {
    throw new CliError(
      `the pages of ${path} cannot be written${codeOf(error)}`,
      `kvcapsule report ${path} makes them again.`,
    );
  });
}

function pathsOfPages(path: string): [markdown: string, html: string] {
  const { dir, name } = parse(path);
  return [join(dir, `${name}.md`), join(dir, `${name}.html`)];
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
  const [markdownPath, htmlPath] = pathsOfPages(path);
  const markdown = renderMarkdown(report);
  await writeFile(markdownPath, markdown);
  await writeFile(htmlPath, renderHtml(report));
  show(markdown);
}
