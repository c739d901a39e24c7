export * from './artwork.js';
export * from './questions.js';
export { mixSeed, SeededRandom } from './random.js';
export * from './scene.js';
