export * from './pictures.js';
export * from './prompt-maker.js';
export * from './step-rows.js';
