import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { LogFile } from './log-file.js';
import { tellsWhy } from './log-line.js';

const SETPRIV = '/usr/bin/setpriv';
const TAIL_LINES = 12;
/** A warning that is older has been survived. */
const RECENT_MS = 60_000;

export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly logPath: string;
  readonly readyTimeoutMs: number;
  /** What a line says of being ready; `parseReadyLine` where it is a part of this project. */
  readonly readyLine?: (line: string) => ReadyFields | undefined;
}

export type ReadyFields = Readonly<Record<string, unknown>>;

export interface ExitInfo {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One run of a part: a process in its own group, its log, and the line that says it is ready. */
export class Child {
  readonly exited: Promise<ExitInfo>;
  private readonly process: ChildProcess;
  private readonly lastLines: string[] = [];
  private readonly telling: { readonly line: string; readonly atMs: number }[] = [];
  private ended: ExitInfo | undefined;
  private readyFields: ReadyFields | undefined;
  private onReady: ((fields: ReadyFields) => void) | undefined;

  constructor(
    private readonly spec: ChildSpec,
    /** Outlives this run: the next one goes on in it. */
    private readonly log: LogFile,
  ) {
    const [command, args] = withDeathSignal(spec.command, spec.args);
    // a group of its own: Ctrl-C in the terminal must reach the supervisor alone, which stops parts in order
    this.process = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(spec.env === undefined ? {} : { env: spec.env }),
    });
    this.follow(this.process.stdout);
    this.follow(this.process.stderr);
    this.exited = new Promise((resolve) => {
      const end = (info: ExitInfo): void => {
        this.ended ??= info;
        resolve(this.ended);
      };
      this.process.once('close', (code, signal) => {
        end({ code, signal });
      });
      this.process.once('error', (error) => {
        this.keep(error.message);
        end({ code: 127, signal: null });
      });
    });
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get running(): boolean {
    return this.ended === undefined;
  }

  /** The last lines it wrote. */
  get tail(): readonly string[] {
    return this.lastLines;
  }

  /** Those of its last minute that may say why it ended: no line of a request that went well. */
  get reasons(): readonly string[] {
    const sinceMs = performance.now() - RECENT_MS;
    return this.telling.filter(({ atMs }) => atMs >= sinceMs).map(({ line }) => line);
  }

  /** Resolves with the ready line's fields; `undefined` when it ended or stayed silent for too long. */
  async ready(): Promise<ReadyFields | undefined> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      late.resolve(undefined);
    }, this.spec.readyTimeoutMs);
    try {
      return await Promise.race([this.readySignal(), this.exited.then(() => undefined), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** SIGTERM, then SIGKILL to its whole group after `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<ExitInfo> {
    if (this.running) this.signal('SIGTERM');
    const forced = setTimeout(() => {
      this.kill();
    }, graceMs);
    const info = await this.exited;
    clearTimeout(forced);
    return info;
  }

  kill(): void {
    if (this.running) this.signal('SIGKILL');
  }

  private signal(signal: NodeJS.Signals): void {
    const { pid } = this.process;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // it ended in between
    }
  }

  private async readySignal(): Promise<ReadyFields> {
    if (this.readyFields !== undefined) return this.readyFields;
    return new Promise((resolve) => {
      this.onReady = resolve;
    });
  }

  private follow(stream: NodeJS.ReadableStream | null): void {
    if (stream === null) return;
    createInterface({ input: stream }).on('line', (line) => {
      this.keep(line);
      this.noticeReady(line);
    });
  }

  private keep(line: string): void {
    this.log.write(line);
    this.lastLines.push(line);
    if (this.lastLines.length > TAIL_LINES) this.lastLines.shift();
    if (!tellsWhy(line)) return;
    this.telling.push({ line, atMs: performance.now() });
    if (this.telling.length > TAIL_LINES) this.telling.shift();
  }

  private noticeReady(line: string): void {
    if (this.readyFields !== undefined) return;
    const fields = (this.spec.readyLine ?? parseReadyLine)(line);
    if (fields === undefined) return;
    this.readyFields = fields;
    this.onReady?.(fields);
  }
}

/** The fields of a `{"event":"ready", ...}` line, or undefined for any other line. */
export function parseReadyLine(line: string): ReadyFields | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const fields = JSON.parse(line) as ReadyFields;
    return fields['event'] === 'ready' ? fields : undefined;
  } catch {
    return undefined;
  }
}

/** Has the kernel stop the child when the supervisor itself is killed, so that no orphan stays. */
function withDeathSignal(command: string, args: readonly string[]): [string, string[]] {
  if (!existsSync(SETPRIV)) return [command, [...args]];
  return [SETPRIV, ['--pdeathsig', 'TERM', command, ...args]];
}
