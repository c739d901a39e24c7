export { addonPath, loadBinding } from './binding.js';
export * from './engine.js';
export * from './formats.js';
export * from './model-revision.js';
export * from './native.js';
export * from './profiles/index.js';
export * from './stored-formats.js';
export * from './weight-type.js';
