declare const pictureName: unique symbol;
/** What a picture's features are known by: 32 bytes in hex. */
export type PictureName = string & { readonly [pictureName]: true };

declare const fileName: unique symbol;
/** Names a picture's file for requests with one salt, 32 bytes in hex: shows that its pixels are known without decoding it. */
export type FileName = string & { readonly [fileName]: true };
