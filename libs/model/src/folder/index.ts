export type { PictureSpecification, TextSpecification, VisionSpecification } from '../families/index.js';
export { type ModelSpecification, readSpecification } from './specification.js';
