export type EndSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP';

/**
 * One wish may be told by several: a terminal and systemd signal all processes of a group, and a supervisor among them
 * hands it on.
 */
const ONE_WISH_MS = 500;

interface EndSignals {
  /** SIGTERM and SIGINT where nothing is said. */
  readonly signals?: readonly EndSignal[];
  /** Somebody wants the process to end. */
  readonly first: () => void;
  /** And does not want to wait for it. */
  readonly again: () => void;
}

interface Process {
  on(signal: EndSignal, listener: () => void): unknown;
}

/** Hears signals that end a process. Another one counts once half a second has passed since the first. */
export function onEndSignals(
  { signals = ['SIGTERM', 'SIGINT'], first, again }: EndSignals,
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
  for (const signal of signals) heardBy.on(signal, hear);
}
