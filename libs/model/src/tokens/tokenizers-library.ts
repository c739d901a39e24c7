/**
 * What we use of `@huggingface/tokenizers`, whose own declarations import files without their endings and so
 * cannot be resolved by a compiler that reads them as Node does.
 */
export interface TokenizersLibrary {
  readonly Tokenizer: new (
    tokenizer: object,
    config: object,
  ) => {
    readonly normalizer: ((text: string) => string) | null;
    readonly pre_tokenizer:
      ((text: string, options: { readonly section_index: number }) => readonly string[]) | null;
    encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: number[] };
  };
}
