import type { FamilySpec } from '../family.js';
import { configFile } from './config.js';
import { FAKE_IMAGE_TOKEN, IMAGE_TOKEN, pictureMarkup } from './markup.js';
import { pictureGrid, pictureGrids } from './picture-grid.js';
import { pictureSettings } from './picture-settings.js';

/** Idefics3 and SmolVLM, which share tower, pixel shuffle, tiles and markup; of SmolVLM2 the picture part. */
export const IDEFICS3: FamilySpec = {
  name: 'idefics3',
  modelTypes: ['idefics3', 'smolvlm'],
  imageToken: IMAGE_TOKEN,
  markerTokens: [FAKE_IMAGE_TOKEN],
  config: configFile,
  pictures: pictureSettings,
  tokensPerTile: ({ vision, scaleFactor }, { tilePx }) => {
    // Pixels that fill no patch are in none, as in a convolution without padding: SmolVLM2-2.2B's tiles of 384 pixels
    // have 27 patches of 14 a side.
    const side = Math.floor(tilePx / vision.patchPx) / scaleFactor;
    return side >= 1 && Number.isInteger(side) ? side ** 2 : undefined;
  },
  pictureGrid,
  pictureGrids,
  pictureMarkup,
};
