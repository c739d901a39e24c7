export { fetchPicture, inspectPicture, loadImage, type LoadedImage } from './load-image.js';
export type { ImageFormat } from './picture/container.js';
export { decodeImage, type DecodedImage, type DecodeOptions } from './picture/decode-image.js';
export { inspectImage, type ImageInfo, type InspectOptions, MAX_SIDE_PX } from './picture/inspect-image.js';
export { DEFAULT_IMAGE_POLICY, type FetchOptions, type ImagePolicy } from './source/fetch-image.js';
export type { PictureUrl } from './source/image-url.js';
