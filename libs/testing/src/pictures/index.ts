export {
  orientationBlock,
  type Pixels,
  storedTurned,
  withJpegExif,
  withPngExif,
  withWebpExif,
} from './exif.js';
export { encodePng, pngChunk, type PngContent } from './png.js';
