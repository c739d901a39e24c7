import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { registerBench } from './bench.command.js';
import { parseBenchFlags, type BenchFlags } from './options.js';

function flags(...args: string[]): BenchFlags {
  const program = new Command();
  registerBench(program);
  const engine = program.commands[0]?.commands.find((command) => command.name() === 'engine');
  if (engine === undefined) throw new Error('there is no bench engine');
  return engine.parseOptions(['--out', 'x.json', ...args]) && engine.opts<BenchFlags>();
}

describe('flags of bench engine', () => {
  it('sweeps over batches and contexts by default, with weights as stored and no peer without an interpreter', () => {
    const options = parseBenchFlags(flags(), 'bf16');
    expect(options.batches).toEqual([1, 4, 16]);
    expect(options.contexts.at(-1)).toBe(16_384);
    expect(options.peers).toEqual(['llama.cpp']);
    expect(options.weights).toBe('bf16');
    expect(options.threads).toBeGreaterThan(0);
  });

  it('sorts lists and takes what is named twice once', () => {
    const options = parseBenchFlags(
      flags('--batches', '4,1,4', '--peers', 'none', '--codecs', 'q4', '--weights', 'f16'),
      'bf16',
    );
    expect(options).toMatchObject({ batches: [1, 4], peers: [], codecs: ['q4'], weights: 'f16' });
  });

  it('compares quantized weights with 16 bits', () => {
    const options = parseBenchFlags(flags('--weights', 'q4_1'), 'f32');
    expect(options).toMatchObject({ weights: 'q4_1', peerWeights: 'bf16' });
    expect(parseBenchFlags(flags('--weights', 'f32'), 'bf16').peerWeights).toBe('f32');
  });

  it.each([
    ['--batches', '0'],
    ['--contexts', '12,x'],
    ['--codecs', 'zip'],
    ['--peers', 'vllm'],
    ['--weights', 'q8'],
    ['--repeats', ''],
  ])('refuses %s %s by name', (flag, value) => {
    expect(() => parseBenchFlags(flags(flag, value), 'f32')).toThrow(flag);
  });
});
