export * from './artwork.js';
export * from './questions.js';
export { SeededRandom } from './random.js';
export * from './scene.js';
