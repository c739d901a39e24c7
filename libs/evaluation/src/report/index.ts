export * from './html.js';
export * from './html-page.js';
export * from './markdown.js';
export * from './pareto-plot.js';
export * from './provenance.js';
export * from './svg-plot.js';
export * from './tables.js';
