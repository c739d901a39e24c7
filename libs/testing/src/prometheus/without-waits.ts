const WAITS = /"(group_wait|group_interval|scrape_interval|evaluation_interval|refresh_interval)":"[^"]+"/g;

/** A configuration of Prometheus or Alertmanager in which everything happens every second: a test waits for no more. */
export function withoutWaits(config: object): object {
  return JSON.parse(JSON.stringify(config).replaceAll(WAITS, '"$1":"1s"')) as object;
}

/** Files of rules among generated ones, by name, in which whatever is true for a second fires. */
export function rulesAtOnce(files: ReadonlyMap<string, string>): Record<string, string> {
  const rules = [...files].filter(([path]) => path.startsWith('deploy/observability/rules/'));
  return Object.fromEntries(
    rules.map(([path, text]) => [
      path.slice(path.lastIndexOf('/') + 1),
      text.replaceAll(/^( +for): .*$/gm, '$1: 1s'),
    ]),
  );
}
