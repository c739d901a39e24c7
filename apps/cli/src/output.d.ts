/**
 * Results are written after minutes of work: better to know at the start that they cannot be.
 *
 * @throws KvcError CONFIG_INVALID when the folder of the flag's file is not there or may not be written to
 */
export declare function checkOutput(path: string, flag?: string): Promise<void>;
/** Writes a report as JSON to `path`, as Markdown and HTML beside it, and the Markdown to the terminal. */
export declare function writeReport(
  path: string,
  report: unknown,
  rendered: {
    readonly markdown: string;
    readonly html: string;
  },
): Promise<void>;
//# sourceMappingURL=output.d.ts.map
