/** Where the pages of `docs/runbook` are read; alerts and panels link there. */
const RUNBOOK = 'https://github.com/kvcapsule/kvcapsule/blob/main/docs/runbook';

/** The address of the runbook's page `name`. */
export function runbookUrl(name: string): string {
  return `${RUNBOOK}/${name}.md`;
}
