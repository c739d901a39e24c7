const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/**
 * One wish may be told by several: a terminal and systemd signal all processes of a group, and a supervisor among them
 * hands it on.
 */
const ONE_WISH_MS = 500;

interface EndSignals {
  /** Somebody wants the process to end. */
  readonly first: () => void;
  /** And does not want to wait for it. */
  readonly again: () => void;
}

interface Process {
  on(signal: 'SIGTERM' | 'SIGINT', listener: () => void): unknown;
}

/** Hears SIGTERM and SIGINT. Another one counts once half a second has passed since the first. */
export function onEndSignals(
  { first, again }: EndSignals,
  heardBy: Process = process,
  nowMs: () => number = () => performance.now(),
): void {
  let firstMs: number | undefined;
  const hear = (): void => {
    if (firstMs === undefined) {
      firstMs = nowMs();
      first();
    } else if (nowMs() - firstMs >= ONE_WISH_MS) again();
  };
  for (const signal of SIGNALS) heardBy.on(signal, hear);
}
