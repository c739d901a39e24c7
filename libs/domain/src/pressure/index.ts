export { relieve, type Relieved, withoutRelief } from './ladder.js';
