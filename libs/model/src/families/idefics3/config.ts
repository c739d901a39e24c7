import { z } from 'zod';
import type { FamilyConfig, TextSpecification, VisionSpecification } from '../family.js';
import { eosTokenId, only, orElse, positive, size, tokenId } from '../fields.js';

/** Older folders say `type`, newer ones `rope_type`. */
const plainRope = { type: only('default'), rope_type: only('default') };

const visionConfig = z
  .object({
    hidden_size: orElse(size, 1152),
    intermediate_size: orElse(size, 3072),
    num_hidden_layers: orElse(size, 12),
    num_attention_heads: orElse(size, 16),
    num_channels: only(3),
    image_size: orElse(size, 224),
    patch_size: orElse(size, 32),
    hidden_act: only('gelu_pytorch_tanh'),
    layer_norm_eps: orElse(positive, 1e-6),
  })
  .refine((vision) => vision.hidden_size % vision.num_attention_heads === 0, {
    path: ['hidden_size'],
    message: 'is not a multiple of num_attention_heads',
    abort: true,
  })
  .refine((vision) => vision.image_size >= vision.patch_size, {
    path: ['image_size'],
    message: 'is smaller than patch_size',
    abort: true,
  })
  .transform((vision): VisionSpecification => ({
    hidden: vision.hidden_size,
    intermediate: vision.intermediate_size,
    layers: vision.num_hidden_layers,
    heads: vision.num_attention_heads,
    imagePx: vision.image_size,
    patchPx: vision.patch_size,
    normEpsilon: vision.layer_norm_eps,
  }));

interface HeadFields {
  readonly head_dim?: number | null | undefined;
  readonly hidden_size: number;
  readonly num_attention_heads: number;
}

function headDimOf(text: HeadFields): number {
  return text.head_dim ?? Math.max(1, Math.trunc(text.hidden_size / text.num_attention_heads));
}

const textConfig = z
  .object({
    model_type: only('llama', 'VLlama3'),
    hidden_act: only('silu'),
    vocab_size: orElse(size, 32_000),
    hidden_size: orElse(size, 4096),
    intermediate_size: orElse(size, 11_008),
    num_hidden_layers: orElse(size, 32),
    num_attention_heads: orElse(size, 32),
    num_key_value_heads: size.nullish(),
    head_dim: size.nullish(),
    max_position_embeddings: orElse(size, 2048),
    rms_norm_eps: orElse(positive, 1e-6),
    rope_theta: positive.nullish(),
    rope_scaling: z.object(plainRope).nullish(),
    rope_parameters: z
      .object({ ...plainRope, partial_rotary_factor: only(1), rope_theta: positive.nullish() })
      .nullish(),
    attention_bias: orElse(z.boolean(), false),
    mlp_bias: orElse(z.boolean(), false),
    eos_token_id: eosTokenId,
  })
  .refine((text) => text.num_attention_heads % (text.num_key_value_heads ?? 1) === 0, {
    path: ['num_attention_heads'],
    message: 'is not a multiple of num_key_value_heads',
    abort: true,
  })
  .refine((text) => headDimOf(text) % 2 === 0, { path: ['head_dim'], message: 'is odd', abort: true })
  .transform((text): { spec: TextSpecification; eosTokenIds: readonly number[] } => ({
    spec: {
      vocab: text.vocab_size,
      hidden: text.hidden_size,
      intermediate: text.intermediate_size,
      layers: text.num_hidden_layers,
      heads: text.num_attention_heads,
      kvHeads: text.num_key_value_heads ?? text.num_attention_heads,
      headDim: headDimOf(text),
      contextTokens: text.max_position_embeddings,
      normEpsilon: text.rms_norm_eps,
      ropeTheta: text.rope_parameters?.rope_theta ?? text.rope_theta ?? 10_000,
      attentionBias: text.attention_bias,
      mlpBias: text.mlp_bias,
    },
    eosTokenIds: text.eos_token_id,
  }));

/** `config.json`, with the defaults of transformers' Idefics3Config and LlamaConfig. */
export const configFile = z
  .object({
    vision_config: orElse(visionConfig, visionConfig.parse({})),
    text_config: orElse(textConfig, textConfig.parse({})),
    image_token_id: orElse(tokenId, 128_257),
    scale_factor: orElse(size, 2),
    tie_word_embeddings: orElse(z.boolean(), false),
    eos_token_id: eosTokenId,
  })
  .refine((config) => config.image_token_id < config.text_config.spec.vocab, {
    path: ['image_token_id'],
    message: 'is outside the vocabulary',
  })
  .transform((config): FamilyConfig => ({
    text: config.text_config.spec,
    vision: config.vision_config,
    imageTokenId: config.image_token_id,
    scaleFactor: config.scale_factor,
    tiedHead: config.tie_word_embeddings,
    eosTokenIds: [...config.text_config.eosTokenIds, ...config.eos_token_id],
  }));
