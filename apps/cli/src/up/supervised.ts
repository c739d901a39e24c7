import { Backoff } from '@kvcapsule/platform/processes';
import { CliError } from '../failure.js';
import { Child, type ChildSpec, type ExitInfo, type ReadyFields } from './child.js';
import { LogFile } from './log-file.js';
import { readableLogLine } from './log-line.js';

/** One part kept alive: started, watched, started again with backoff until it is told to stop. */
export class Supervised {
  private child: Child | undefined;
  private stopping = false;
  private readonly backoff = new Backoff();
  private wake: (() => void) | undefined;
  private readonly log: LogFile;

  /** @param say one line for the terminal */
  constructor(
    private readonly spec: ChildSpec,
    private readonly say: (line: string) => void,
  ) {
    this.log = new LogFile({ path: spec.logPath, warn: say });
  }

  get name(): string {
    return this.spec.name;
  }

  /** First start. Rejects with the part's last lines when it does not get ready. */
  async start(): Promise<ReadyFields> {
    const startedMs = performance.now();
    const child = this.spawn();
    const fields = await child.ready();
    if (fields === undefined) {
      const exit = child.running ? undefined : await child.exited;
      child.kill();
      await child.exited;
      await this.log.close();
      throw new CliError(
        `${this.name} ${exit === undefined ? 'did not get ready in time' : `stopped at its start (${exitText(exit)})`}` +
          indented(child.reasons.length > 0 ? child.reasons : child.tail),
        `Whole log: ${this.spec.logPath}`,
      );
    }
    void this.watch(child, startedMs);
    return fields;
  }

  /** Ends it for good; resolves when no process of it is left. */
  async stop(graceMs: number): Promise<void> {
    this.stopping = true;
    this.wake?.();
    await this.child?.stop(graceMs);
    await this.log.close();
  }

  kill(): void {
    this.stopping = true;
    this.wake?.();
    this.child?.kill();
  }

  private spawn(): Child {
    this.child = new Child(this.spec, this.log);
    return this.child;
  }

  private async watch(first: Child, firstStartMs: number): Promise<void> {
    let child = first;
    let startedMs = firstStartMs;
    for (;;) {
      const exit = await child.exited;
      if (this.stopping) return;
      const delayMs = this.backoff.nextDelayMs(performance.now() - startedMs);
      this.say(
        `${this.name} stopped (${exitText(exit)}); it starts again in ${(delayMs / 1000).toFixed(1)} s. ` +
          this.why(child.reasons),
      );
      if (!(await this.pause(delayMs))) return;
      startedMs = performance.now();
      child = this.spawn();
      if ((await child.ready()) !== undefined) this.say(`${this.name} is back (pid ${String(child.pid)})`);
      else child.kill();
    }
  }

  private why(reasons: readonly string[]): string {
    return reasons.length > 0
      ? `What it said of it:${indented(reasons)}`
      : `It said nothing of why: ${this.spec.logPath}`;
  }

  /** False when the stop came meanwhile. */
  private async pause(ms: number): Promise<boolean> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    return !this.stopping;
  }
}

function exitText({ code, signal }: ExitInfo): string {
  return signal === null ? `exit code ${String(code)}` : `killed by ${signal}`;
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `\n    ${readableLogLine(line)}`).join('');
}
