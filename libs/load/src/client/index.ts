export * from './chat-client.js';
export type { Usage } from './chunk.js';
