export { prometheusConfig } from './config/prometheus.js';
export { type Board, type Panel, panelsOf, queriesOf, type Query } from './dashboards/board.js';
export { BOARDS } from './dashboards/index.js';
export { chosen, unchosen } from './grafana/variables.js';
export { files } from './files.js';
export { type Line } from './pictures/drawing.js';
export { dashboardPage, nameOf, pageSize } from './pictures/page.js';
