/** Ctrl-C, the end that a supervisor asks for, and a terminal that is closed. */
export const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Who is asked to end, the innermost last. */
const asked: (() => void)[] = [];

const interrupt = (): void => {
  asked.at(-1)?.();
};

/**
 * Has an interruption end what is going on: `end`, or that of whoever began within it and is not over yet. Node's own
 * way, which lets nothing be tidied up, holds again when all are over.
 *
 * @returns called when it is over
 */
export function onInterrupt(end: () => void): () => void {
  if (asked.length === 0) for (const signal of INTERRUPTS) process.on(signal, interrupt);
  asked.push(end);
  return () => {
    asked.splice(asked.indexOf(end), 1);
    if (asked.length === 0) for (const signal of INTERRUPTS) process.off(signal, interrupt);
  };
}
