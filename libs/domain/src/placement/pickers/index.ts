export { nearBest } from './near-best/near-best.picker.js';
