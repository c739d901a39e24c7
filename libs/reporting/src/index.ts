export * from './html.js';
export * from './lines.js';
export * from './markdown.js';
export { escapeHtml } from './escape.js';
export { colourOf, PALETTE, svgOf } from './plot.js';
export * from './provenance.js';
export type * from './report.js';
