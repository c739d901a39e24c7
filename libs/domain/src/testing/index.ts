export * from './page-table-model.js';
