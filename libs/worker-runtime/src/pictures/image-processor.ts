import { createHash } from 'node:crypto';

import type { Engine } from '@kvcapsule/engine';

/**
 * Names what turns pixels into features: the model with the type of its weights, and the settings of its image
 * processor as the engine has them, whichever files they came from.
 */
export function nameImageProcessor(
  { modelRevision, specification }: Pick<Engine, 'modelRevision' | 'specification'>,
  weights: string,
): string {
  const { longestEdgePx, tilePx, splits, resample, rescale, mean, std } = specification.pictures;
  const settings = JSON.stringify([longestEdgePx, tilePx, splits, resample, rescale, mean, std]);
  return `${modelRevision} ${weights} ${createHash('sha256').update(settings).digest('hex')}`;
}
