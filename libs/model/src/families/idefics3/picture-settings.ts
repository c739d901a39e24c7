import { z } from 'zod';
import type { PictureSpecification } from '../family.js';
import { orElse, positive, size } from '../fields.js';

const DEFAULT_TILE_PX = 364;
const HALF = [0.5, 0.5, 0.5] as const;

const triple = z.tuple([z.number(), z.number(), z.number()]);
/** The longest side that a resized picture has, and with it a tile. */
const MAX_TILE_PX = 4096;
const edge = (fallback: number, px = size) =>
  orElse(z.object({ longest_edge: px }), { longest_edge: fallback });

/** Settings of transformers' Idefics3ImageProcessor and SmolVLMImageProcessor, with their defaults. */
export const pictureSettings = z
  .object({
    do_resize: z.literal(true, 'pictures that are not resized are not served').nullish(),
    do_image_splitting: orElse(z.boolean(), true),
    size: edge(4 * DEFAULT_TILE_PX),
    max_image_size: edge(DEFAULT_TILE_PX, size.max(MAX_TILE_PX)),
    resample: orElse(z.int().min(1).max(3), 1),
    do_rescale: orElse(z.boolean(), true),
    rescale_factor: orElse(positive, 1 / 255),
    do_normalize: orElse(z.boolean(), true),
    image_mean: orElse(triple, [...HALF]),
    image_std: orElse(z.tuple([positive, positive, positive]), [...HALF]),
  })
  .transform((settings): PictureSpecification => ({
    longestEdgePx: settings.size.longest_edge,
    tilePx: settings.max_image_size.longest_edge,
    splits: settings.do_image_splitting,
    resample: settings.resample,
    rescale: settings.do_rescale ? settings.rescale_factor : 1,
    mean: settings.do_normalize ? settings.image_mean : [0, 0, 0],
    std: settings.do_normalize ? settings.image_std : [1, 1, 1],
  }));
