import { z } from 'zod';
import { eosTokenId, tokenId } from '../families/index.js';

export const GenerationConfigFile = z.object({ eos_token_id: eosTokenId });

const AddedToken = z.object({
  id: tokenId,
  content: z.string().min(1),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  special: z.boolean().default(false),
});
export type AddedToken = z.infer<typeof AddedToken>;

const steps = z.looseObject({ type: z.string() });

export const TokenizerFile = z.looseObject({
  added_tokens: z.array(AddedToken),
  normalizer: steps.nullish(),
  pre_tokenizer: steps.nullish(),
  decoder: z.looseObject({
    type: z.literal('ByteLevel', 'only byte-level tokenizers (decoder of type ByteLevel) are served'),
  }),
  model: z.looseObject({
    type: z.literal('BPE', 'only BPE tokenizers are served'),
    vocab: z.record(z.string(), tokenId),
  }),
});
export type TokenizerFile = z.infer<typeof TokenizerFile>;

const NamedToken = z.union([
  z.string(),
  z.object({ content: z.string() }).transform((token) => token.content),
]);

export const TokenizerConfigFile = z.object({
  bos_token: NamedToken.nullish(),
  eos_token: NamedToken.nullish(),
  pad_token: NamedToken.nullish(),
  unk_token: NamedToken.nullish(),
});
export type TokenizerConfigFile = z.infer<typeof TokenizerConfigFile>;
