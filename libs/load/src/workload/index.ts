export * from './body.js';
export type * from './conversation.js';
export * from './generated.js';
export * from './lengths.js';
export * from './pictures.js';
export * from './traces.js';
export * from './words.js';
export * from './source.js';
