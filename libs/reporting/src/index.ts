export * from './html.js';
export * from './lines.js';
export * from './markdown.js';
export { colourOf, PALETTE } from './plot.js';
export * from './provenance.js';
export type * from './report.js';
