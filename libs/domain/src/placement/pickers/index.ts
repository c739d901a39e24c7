export { lowest } from './lowest/lowest.picker.js';
export { nearBest } from './near-best/near-best.picker.js';
export { roundRobin } from './round-robin/round-robin.picker.js';
export { twoChoices } from './two-choices/two-choices.picker.js';
export { uniform } from './uniform/uniform.picker.js';
