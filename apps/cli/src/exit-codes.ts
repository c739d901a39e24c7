/** What a command ends with; the entry script ends with the same. */
export const EXIT_CODES = [
  [0, 'done'],
  [1, 'it failed, or what was looked at is at fault'],
  [2, 'the command line is wrong'],
  [3, '`bench serve`: the run is not to be trusted, since its load left late'],
  [130, 'ended by Ctrl-C before it was done (143 by SIGTERM); `up`, `serve` and `simulate` end with 0 then'],
] as const;

export const USAGE_ERROR = 2;

/** As a help text shows them. */
export const EXIT_CODES_HELP = `
Exit codes:
${EXIT_CODES.map(([code, meaning]) => `  ${String(code).padEnd(5)}${meaning}`).join('\n')}`;
