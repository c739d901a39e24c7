export type { ChatPart, ChatTurn } from './chat/chat-template.js';
export type {
  ChatPrompt,
  PictureSize,
  PictureSpan,
  PreparedPrompt,
  PromptPicture,
} from './chat/prompt-builder.js';
export { openModelFolder, type ModelFolder } from './folder/model-folder.js';
export type { IncrementalDetokenizer } from './tokens/incremental-detokenizer.js';
export type { TokenBytes } from './tokens/token-bytes.js';
export { type ModelSpecification, readSpecification } from './folder/specification.js';
