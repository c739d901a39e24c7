// what runs a core's steps on an engine, for those that never open the real one
export { StepRunner } from '@kvcapsule/engine/plan';
export * from './drawn-before.js';
export * from './fake-engine.js';
export * from './invented-numbers.js';
export * from './read-plan.js';
export * from './serving-engine.js';
