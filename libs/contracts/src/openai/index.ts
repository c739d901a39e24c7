export * from './chat-messages.schema.js';
export * from './chat-request.schema.js';
export * from './chat-response.schema.js';
export * from './error.js';
export * from './placement-explanation.schema.js';
export * from './placement-receipt.schema.js';
