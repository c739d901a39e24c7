export * from './eval-report.js';
export * from './pareto-plot.js';
