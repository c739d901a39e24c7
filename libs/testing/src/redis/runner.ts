import type { Runner } from './server.js';

/**
 * How this run has its servers: in containers of the image that `KVCAPSULE_TEST_REDIS_IMAGE` names, which is set where
 * a container engine runs (`tools/container-engine.mjs`); as processes of this machine otherwise. The library for
 * containers takes a third of a second to load, so it is loaded where it is needed.
 */
export const runServer: Runner = async (spec) => {
  const image = process.env['KVCAPSULE_TEST_REDIS_IMAGE'];
  if (image === undefined) return (await import('./process.js')).runProcess(spec);
  return (await import('./container.js')).containerRunner(image)(spec);
};
