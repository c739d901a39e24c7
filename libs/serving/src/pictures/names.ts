declare const pictureName: unique symbol;
/** What a picture's features are known by: 32 bytes in hex. */
export type PictureName = string & { readonly [pictureName]: true };
