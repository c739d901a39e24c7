import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { CliError } from '../failure.js';

/** A child that answers each line of JSON with one. */
export class LineProcess {
  readonly #name: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #errors = '';

  constructor(name: string, command: string, args: readonly string[]) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: 'pipe' });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2000);
    });
    this.#child.on('error', (error) => {
      this.#errors += error.message;
    });
    // a child that died shows as the end of its lines
    this.#child.stdin.on('error', () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line; throws CliError with what the child wrote to standard error when it ended instead. */
  async read(): Promise<unknown> {
    const line = await this.#lines.next();
    if (line.done === true) {
      throw new CliError(`${this.#name} ended: ${this.#errors.trim().split('\n').slice(-3).join(' / ')}`);
    }
    return JSON.parse(line.value);
  }

  ask(request: object): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.read();
  }

  async dispose(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.pid === undefined) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}
