import { createWriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { KvcError } from '@kvcapsule/contracts';
import type { NativeDtype } from '@kvcapsule/engine';
import { readSpecification, type TextSpecification } from '@kvcapsule/model/folder';
import { z } from 'zod';

const tensorSchema = z.object({
  dtype: z.enum(['F32', 'F16', 'BF16']),
  shape: z.array(z.int().positive()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

interface SourceTensor {
  readonly shape: readonly number[];
  /** Row-major, widened. */
  read(): Float32Array;
}

/** GGUF's numbers for what is written here. */
const GgufType = { Uint32: 4, Float32: 6, String: 8 } as const;
const TensorType: Readonly<Record<NativeDtype, number>> = { f32: 0, f16: 1, bf16: 30 };
const ALIGNMENT_BYTES = 32;
const VERSION = 3;

function widen(dtype: 'F32' | 'F16' | 'BF16', bytes: Uint8Array): Float32Array {
  // a copy: safetensors puts tensors at any offset
  const { buffer } = Uint8Array.from(bytes);
  if (dtype === 'F32') return new Float32Array(buffer);
  if (dtype === 'F16') return Float32Array.from(new Float16Array(buffer));
  const halves = new Uint16Array(buffer);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

function narrow(type: NativeDtype, values: Float32Array): Uint8Array {
  if (type === 'f32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (type === 'f16') return new Uint8Array(Float16Array.from(values).buffer);
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  // round to nearest even, as the engine does; weights are finite
  return new Uint8Array(
    Uint16Array.from(words, (word) => (word + 0x7fff + ((word >>> 16) & 1)) >>> 16).buffer,
  );
}

async function readTensors(modelDir: string): Promise<Map<string, SourceTensor>> {
  const tensors = new Map<string, SourceTensor>();
  const names = (await readdir(modelDir)).filter((name) => name.endsWith('.safetensors'));
  for (const name of names) {
    const file = await readFile(join(modelDir, name));
    const dataOffset = 8 + Number(file.readBigUInt64LE());
    const header = JSON.parse(file.toString('utf8', 8, dataOffset)) as Record<string, unknown>;
    for (const [tensor, description] of Object.entries(header)) {
      if (tensor === '__metadata__') continue;
      const {
        dtype,
        shape,
        data_offsets: [from, to],
      } = tensorSchema.parse(description);
      const read = () => widen(dtype, file.subarray(dataOffset + from, dataOffset + to));
      tensors.set(tensor, { shape, read });
    }
  }
  return tensors;
}

/**
 * Hugging Face keeps the two halves of a head's rotated pairs apart, GGUF's Llama interleaves them: row
 * `half * dim / 2 + i` of a head becomes row `2 * i + half`.
 */
export function interleaveHeads(rows: Float32Array, heads: number, columns: number): Float32Array {
  const out = new Float32Array(rows.length);
  const headDim = rows.length / columns / heads;
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) {
      const to = head * headDim + 2 * (row % (headDim / 2)) + Math.floor(row / (headDim / 2));
      const from = head * headDim + row;
      out.set(rows.subarray(from * columns, (from + 1) * columns), to * columns);
    }
  }
  return out;
}

class GgufWriter {
  readonly #parts: Buffer[] = [];

  uint32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.#parts.push(bytes);
    return this;
  }

  uint64(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    this.#parts.push(bytes);
    return this;
  }

  string(value: string): this {
    const bytes = Buffer.from(value);
    this.uint64(bytes.length).#parts.push(bytes);
    return this;
  }

  pair(key: string, type: number, value: string | number): this {
    this.string(key).uint32(type);
    if (typeof value === 'string') return this.string(value);
    if (type !== GgufType.Float32) return this.uint32(value);
    const bytes = Buffer.alloc(4);
    bytes.writeFloatLE(value);
    this.#parts.push(bytes);
    return this;
  }

  bytes(): Buffer {
    const all = Buffer.concat(this.#parts);
    return Buffer.concat([all, Buffer.alloc(padding(all.length))]);
  }
}

const padding = (bytes: number) => (ALIGNMENT_BYTES - (bytes % ALIGNMENT_BYTES)) % ALIGNMENT_BYTES;

interface TargetTensor {
  readonly name: string;
  readonly source: SourceTensor;
  readonly type: NativeDtype;
  /** Heads of a projection whose rows are rotated. */
  readonly heads?: number;
}

function targetTensors(
  find: (name: string) => SourceTensor,
  text: TextSpecification,
  tied: boolean,
  type: NativeDtype,
): TargetTensor[] {
  const root = 'model.text_model.';
  const matrix = (name: string, from: string) => ({ name, source: find(from), type });
  const vector = (name: string, from: string) => ({ name, source: find(from), type: 'f32' as const });
  const tensors: TargetTensor[] = [
    matrix('token_embd.weight', `${root}embed_tokens.weight`),
    vector('output_norm.weight', `${root}norm.weight`),
  ];
  if (!tied) tensors.push(matrix('output.weight', 'lm_head.weight'));
  for (let layer = 0; layer < text.layers; layer++) {
    const from = `${root}layers.${layer}.`;
    const to = `blk.${layer}.`;
    tensors.push(
      vector(`${to}attn_norm.weight`, `${from}input_layernorm.weight`),
      { ...matrix(`${to}attn_q.weight`, `${from}self_attn.q_proj.weight`), heads: text.heads },
      { ...matrix(`${to}attn_k.weight`, `${from}self_attn.k_proj.weight`), heads: text.kvHeads },
      matrix(`${to}attn_v.weight`, `${from}self_attn.v_proj.weight`),
      matrix(`${to}attn_output.weight`, `${from}self_attn.o_proj.weight`),
      vector(`${to}ffn_norm.weight`, `${from}post_attention_layernorm.weight`),
      matrix(`${to}ffn_gate.weight`, `${from}mlp.gate_proj.weight`),
      matrix(`${to}ffn_up.weight`, `${from}mlp.up_proj.weight`),
      matrix(`${to}ffn_down.weight`, `${from}mlp.down_proj.weight`),
    );
  }
  return tensors;
}

function keyValues(text: TextSpecification): (readonly [string, number, string | number])[] {
  const dim = text.headDim;
  return [
    ['general.architecture', GgufType.String, 'llama'],
    ['general.name', GgufType.String, 'text part of a vision-language model'],
    ['llama.vocab_size', GgufType.Uint32, text.vocab],
    ['llama.context_length', GgufType.Uint32, text.contextTokens],
    ['llama.embedding_length', GgufType.Uint32, text.hidden],
    ['llama.block_count', GgufType.Uint32, text.layers],
    ['llama.feed_forward_length', GgufType.Uint32, text.intermediate],
    ['llama.attention.head_count', GgufType.Uint32, text.heads],
    ['llama.attention.head_count_kv', GgufType.Uint32, text.kvHeads],
    ['llama.attention.key_length', GgufType.Uint32, dim],
    ['llama.attention.value_length', GgufType.Uint32, dim],
    ['llama.rope.dimension_count', GgufType.Uint32, dim],
    ['llama.attention.layer_norm_rms_epsilon', GgufType.Float32, text.normEpsilon],
    ['llama.rope.freq_base', GgufType.Float32, text.ropeTheta],
    // prompts are token ids: no tokenizer is needed
    ['tokenizer.ggml.model', GgufType.String, 'none'],
  ];
}

function* contents(header: Buffer, tensors: readonly TargetTensor[]): Generator<Uint8Array> {
  yield header;
  for (const { source, type, heads } of tensors) {
    const values = source.read();
    const ordered = heads === undefined ? values : interleaveHeads(values, heads, source.shape[1] ?? 1);
    const bytes = narrow(type, ordered);
    yield bytes;
    yield new Uint8Array(padding(bytes.length));
  }
}

/**
 * The text part of a model folder as a GGUF file of llama.cpp's `llama` architecture.
 *
 * @throws KvcError MODEL_INVALID naming what is missing or not a plain Llama decoder
 */
export async function writeGguf(modelDir: string, type: NativeDtype, path: string): Promise<void> {
  const { text, tiedHead } = await readSpecification(modelDir);
  const all = await readTensors(modelDir);
  const find = (name: string) => {
    const tensor = all.get(name);
    if (tensor === undefined) throw new KvcError('MODEL_INVALID', `${modelDir}: tensor ${name} is missing`);
    return tensor;
  };
  const tensors = targetTensors(find, text, tiedHead, type);
  const pairs = keyValues(text);
  const writer = new GgufWriter()
    .uint32(0x46554747)
    .uint32(VERSION)
    .uint64(tensors.length)
    .uint64(pairs.length);
  for (const [key, kind, value] of pairs) writer.pair(key, kind, value);
  let offset = 0;
  for (const { name, source, type: tensorType } of tensors) {
    writer.string(name).uint32(source.shape.length);
    for (const size of source.shape.toReversed()) writer.uint64(size);
    writer.uint32(TensorType[tensorType]).uint64(offset);
    const bytes = source.shape.reduce((product, size) => product * size, tensorType === 'f32' ? 4 : 2);
    offset += bytes + padding(bytes);
  }
  await pipeline(contents(writer.bytes(), tensors), createWriteStream(path));
}
