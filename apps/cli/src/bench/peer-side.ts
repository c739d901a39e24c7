import { z } from 'zod';
import { LineProcess } from './line-process.js';
import type { Side, Timed } from './side.js';

const prefillSchema = z.object({ seconds: z.number(), cpuSeconds: z.number(), tokens: z.array(z.int()) });
const decodeSchema = z.object({
  seconds: z.array(z.number()),
  cpuSeconds: z.number(),
  tokens: z.array(z.array(z.int())),
});

/** A process that speaks the protocol of `bench/llama.cpp/llama_peer.cc`, all but its mixed steps. */
export class PeerSide implements Side {
  readonly name: string;
  protected readonly process: LineProcess;

  /** @param command prints nothing before it is asked */
  constructor(name: string, command: string, args: readonly string[]) {
    this.name = name;
    this.process = new LineProcess(name, command, args);
  }

  async open(sequences: number, context: number): Promise<void> {
    await this.process.ask({ op: 'open', sequences, context });
  }

  async prefill(prompts: readonly (readonly number[])[]): Promise<Timed<number[]>> {
    const { seconds, ...rest } = prefillSchema.parse(await this.process.ask({ op: 'prefill', prompts }));
    return { seconds: [seconds], ...rest };
  }

  decode(steps: number): Promise<Timed<number[][]>> {
    return this.steps({ op: 'decode', steps });
  }

  protected async steps(request: object): Promise<Timed<number[][]>> {
    return decodeSchema.parse(await this.process.ask(request));
  }

  dispose(): Promise<void> {
    return this.process.dispose();
  }
}

export class LlamaSide extends PeerSide {
  mixed(steps: number, chunk: readonly number[]): Promise<Timed<number[][]>> {
    return this.steps({ op: 'mixed', steps, chunk });
  }
}
