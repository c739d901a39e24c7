export { ShiftedClock } from './shifted-clock.js';
