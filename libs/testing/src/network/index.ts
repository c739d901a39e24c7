export { type Fault, FaultProxy } from './fault-proxy.js';
