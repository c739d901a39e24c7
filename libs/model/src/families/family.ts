import type { z } from 'zod';

/** Sizes of the decoder. */
export interface TextSpecification {
  /** Rows of the embedding: token ids are below this. */
  readonly vocab: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Longest sequence, prompt and answer together. */
  readonly contextTokens: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
}

/** Sizes of the vision tower. */
export interface VisionSpecification {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  /** Side of what the position embeddings were made for, in pixels. */
  readonly imagePx: number;
  readonly patchPx: number;
  readonly normEpsilon: number;
}

/** What an image processor does to a picture. */
export interface PictureSpecification {
  /** Longest side that a picture is scaled to, in pixels. */
  readonly longestEdgePx: number;
  /** Side of a tile, in pixels. */
  readonly tilePx: number;
  readonly splits: boolean;
  /** Pillow's number of the filter: 1 Lanczos, 2 bilinear, 3 bicubic. */
  readonly resample: number;
  /** Factor of every sample, 0 to 255, before `mean` is taken off and `std` divides. */
  readonly rescale: number;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** What `config.json` says, with the defaults of transformers for what it leaves out. */
export interface FamilyConfig {
  readonly text: TextSpecification;
  readonly vision: VisionSpecification;
  readonly imageTokenId: number;
  /** Patches along each side that pixel shuffle makes one token of. */
  readonly scaleFactor: number;
  /** The head is the token embedding. */
  readonly tiedHead: boolean;
  readonly eosTokenIds: readonly number[];
}

/** Tiles of a picture; 0 x 0 when it is not split and only its global view is shown. */
export interface PictureGrid {
  readonly rows: number;
  readonly cols: number;
}

/** Everything that is particular to one family of models. Nothing outside `families` knows a family. */
export interface FamilySpec {
  /** As the engine is told it. */
  readonly name: string;
  /** `model_type` of the folders that it covers. */
  readonly modelTypes: readonly string[];
  /** What a template writes for one picture. */
  readonly imageToken: string;
  /** Other added tokens that a picture's markup needs as tokens. */
  readonly markerTokens: readonly string[];
  /** Of `config.json`; refuses what the engine does not compute. */
  readonly config: z.ZodType<FamilyConfig>;
  /** Of the settings of the image processor, whichever file they stand in. */
  readonly pictures: z.ZodType<PictureSpecification>;

  /** Visual tokens of one tile; undefined when the pixel shuffle does not divide its patches. */
  tokensPerTile(config: FamilyConfig, pictures: PictureSpecification): number | undefined;
  /** @throws KvcError IMAGE_INVALID for a size that cannot be tiled */
  pictureGrid(widthPx: number, heightPx: number, pictures: PictureSpecification): PictureGrid;
  /** Every grid that pictures of some shape are cut into, by rows, then columns. */
  pictureGrids(pictures: PictureSpecification): readonly PictureGrid[];
  /** What stands in the prompt for one picture. */
  pictureMarkup(grid: PictureGrid, tokensPerTile: number): string;
}
