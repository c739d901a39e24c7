import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { IMAGE_TOKEN, markupTokenizer, SMOLVLM_TEMPLATE } from './markup.js';

/** As `config.json` names them. */
export interface SmolVlmSizes {
  readonly vision: {
    readonly hidden: number;
    readonly intermediate: number;
    readonly layers: number;
    readonly heads: number;
    readonly imageSize: number;
    readonly patchSize: number;
  };
  readonly text: {
    readonly hidden: number;
    readonly intermediate: number;
    readonly layers: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headDim: number;
    readonly contextTokens: number;
    readonly vocab: number;
  };
  readonly scaleFactor: number;
}

/** SmolVLM-256M's. */
export const SMOLVLM_256M: SmolVlmSizes = {
  vision: {
    ...{ hidden: 768, intermediate: 3072, layers: 12, heads: 12 },
    ...{ imageSize: 512, patchSize: 16 },
  },
  text: {
    ...{ hidden: 576, intermediate: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64 },
    ...{ contextTokens: 8192, vocab: 49_280 },
  },
  scaleFactor: 4,
};

type Shape = readonly number[];
type Tensors = [name: string, shape: Shape][];

const BF16_BYTES = 2;
const BLOCK_BYTES = 2 ** 20;

/**
 * Writes a folder of a model with these sizes: random bf16 weights, the embedding and the head apart, pictures of one
 * tile each. The same sizes give the same bytes.
 */
export async function writeSmolVlmFolder(dir: string, sizes: SmolVlmSizes): Promise<void> {
  const { vision } = sizes;
  const processor = {
    ...{ image_processor_type: 'Idefics3ImageProcessor', do_image_splitting: false, resample: 1 },
    ...{ do_convert_rgb: true, do_normalize: true, do_pad: true, do_rescale: true, do_resize: true },
    ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], rescale_factor: 1 / 255 },
    max_image_size: { longest_edge: vision.imageSize },
    size: { longest_edge: 4 * vision.imageSize },
  };
  await writeFile(join(dir, 'config.json'), JSON.stringify(configOf(sizes)));
  await writeFile(join(dir, 'preprocessor_config.json'), JSON.stringify(processor));
  await writeFile(join(dir, 'tokenizer.json'), await markupTokenizer());
  await writeFile(join(dir, 'chat_template.json'), JSON.stringify({ chat_template: SMOLVLM_TEMPLATE }));
  await writeWeights(join(dir, 'model.safetensors'), [...visionTensors(sizes), ...textTensors(sizes)]);
}

function configOf({ vision, text, scaleFactor }: SmolVlmSizes): object {
  return {
    ...{ architectures: ['Idefics3ForConditionalGeneration'], model_type: 'idefics3', dtype: 'bfloat16' },
    ...{ image_token_id: IMAGE_TOKEN, scale_factor: scaleFactor, tie_word_embeddings: false },
    text_config: {
      ...{ model_type: 'llama', bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, hidden_act: 'silu' },
      ...{ hidden_size: text.hidden, intermediate_size: text.intermediate, num_hidden_layers: text.layers },
      ...{ num_attention_heads: text.heads, num_key_value_heads: text.kvHeads, head_dim: text.headDim },
      ...{ max_position_embeddings: text.contextTokens, vocab_size: text.vocab, rms_norm_eps: 1e-5 },
      ...{ rope_parameters: { rope_theta: 100_000, rope_type: 'default' }, tie_word_embeddings: false },
    },
    vision_config: {
      ...{ hidden_size: vision.hidden, intermediate_size: vision.intermediate, layer_norm_eps: 1e-6 },
      ...{ num_hidden_layers: vision.layers, num_attention_heads: vision.heads, num_channels: 3 },
      ...{ image_size: vision.imageSize, patch_size: vision.patchSize, hidden_act: 'gelu_pytorch_tanh' },
    },
  };
}

function biased(name: string, shape: Shape): Tensors {
  return [
    [`${name}.weight`, shape],
    [`${name}.bias`, shape.slice(0, 1)],
  ];
}

function visionTensors({ vision, text, scaleFactor }: SmolVlmSizes): Tensors {
  const { hidden, intermediate, layers, imageSize, patchSize } = vision;
  const root = 'model.vision_model';
  const layerTensors = (layer: string): Tensors => [
    ...['layer_norm1', 'layer_norm2'].flatMap((name) => biased(`${layer}.${name}`, [hidden])),
    ...['q_proj', 'k_proj', 'v_proj', 'out_proj'].flatMap((name) =>
      biased(`${layer}.self_attn.${name}`, [hidden, hidden]),
    ),
    ...biased(`${layer}.mlp.fc1`, [intermediate, hidden]),
    ...biased(`${layer}.mlp.fc2`, [hidden, intermediate]),
  ];
  return [
    ...biased(`${root}.embeddings.patch_embedding`, [hidden, 3, patchSize, patchSize]),
    [`${root}.embeddings.position_embedding.weight`, [(imageSize / patchSize) ** 2, hidden]],
    ...Array.from({ length: layers }, (_, index) => layerTensors(`${root}.encoder.layers.${index}`)).flat(),
    ...biased(`${root}.post_layernorm`, [hidden]),
    ['model.connector.modality_projection.proj.weight', [text.hidden, hidden * scaleFactor ** 2]],
  ];
}

function textTensors({ text }: SmolVlmSizes): Tensors {
  const { hidden, intermediate, layers, heads, kvHeads, headDim, vocab } = text;
  const root = 'model.text_model';
  const layerTensors = (layer: string): Tensors => [
    [`${layer}.input_layernorm.weight`, [hidden]],
    [`${layer}.post_attention_layernorm.weight`, [hidden]],
    [`${layer}.self_attn.q_proj.weight`, [heads * headDim, hidden]],
    [`${layer}.self_attn.k_proj.weight`, [kvHeads * headDim, hidden]],
    [`${layer}.self_attn.v_proj.weight`, [kvHeads * headDim, hidden]],
    [`${layer}.self_attn.o_proj.weight`, [hidden, heads * headDim]],
    [`${layer}.mlp.gate_proj.weight`, [intermediate, hidden]],
    [`${layer}.mlp.up_proj.weight`, [intermediate, hidden]],
    [`${layer}.mlp.down_proj.weight`, [hidden, intermediate]],
  ];
  return [
    [`${root}.embed_tokens.weight`, [vocab, hidden]],
    ...Array.from({ length: layers }, (_, index) => layerTensors(`${root}.layers.${index}`)).flat(),
    [`${root}.norm.weight`, [hidden]],
    ['lm_head.weight', [vocab, hidden]],
  ];
}

async function writeWeights(path: string, tensors: Tensors): Promise<void> {
  let bytes = 0;
  const entries = tensors.map(([name, shape]) => {
    const begin = bytes;
    bytes += BF16_BYTES * shape.reduce((product, size) => product * size, 1);
    return [name, { dtype: 'BF16', shape, data_offsets: [begin, bytes] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const block = randomBlock();
  const file = await open(path, 'w');
  try {
    await file.write(Buffer.concat([length, header]));
    for (let written = 0; written < bytes; written += BLOCK_BYTES)
      await file.write(block, 0, Math.min(BLOCK_BYTES, bytes - written));
  } finally {
    await file.close();
  }
}

/** Numbers of both signs, 2^-6 to 2^-5 large: sums of thousands of them stay small. */
function randomBlock(): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  let state = 1;
  for (let at = 0; at < BLOCK_BYTES; at += BF16_BYTES) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const bits = state >>> 24;
    block.writeUInt16LE(((bits & 0x80) << 8) | 0x3c80 | (bits & 0x7f), at);
  }
  return block;
}
