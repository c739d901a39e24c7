export { markupTokenizer, SMOLVLM_TEMPLATE } from './markup.js';
export { SMOLVLM_256M, type SmolVlmSizes, writeSmolVlmFolder } from './smolvlm-folder.js';
