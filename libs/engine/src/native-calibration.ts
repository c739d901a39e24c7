/** The addon's surface for fitting profiles; `native/include/kvcapsule/calibration.h` is its other side. */

export interface FitOptions {
  /** Covered tokens of the pictures that count. */
  readonly tokens: number;
  /** Per layer, in (0, 1]. */
  readonly retention: Float32Array;
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A profile of packed rows; `native/src/fit/packed_fit.h` says what each choice means. */
export interface PackedFitOptions {
  readonly codec: 'capsule-q8' | 'capsule-q4' | 'capsule-mixed';
  /** Group of each row of the span, 0 and up without gaps. */
  readonly groups: Int32Array;
  readonly markerRows: Int32Array;
  readonly keyTemplate: TemplateKind;
  readonly valueTemplate: TemplateKind;
  readonly rotate: boolean;
  /** By the attention that was observed. */
  readonly weighRows: boolean;
  readonly basis: 'principal' | 'rows';
  readonly allocation: 'picture' | 'static' | 'leading' | 'equal';
  /** Of a row, for `leading` and `equal`; else 0. */
  readonly bits: number;
  /** Of a capsule at most, header included. */
  readonly bytes: number;
  /** For `picture`: rows that get bits at so many times the bytes may get some in a picture. */
  readonly candidates: number;
  /** For `picture`: bits a channel that a row has to be worth beside its own. */
  readonly rowCost: number;
  /** `[layer][KV head][keys, values]`, or empty: all parts err alike. */
  readonly sensitivities: Float64Array;
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A profile of pieces that many grids have in common; `native/src/fit/piece_fit.h` says what each part means. */
export interface PieceFitOptions extends Omit<PackedFitOptions, 'groups' | 'markerRows' | 'bytes'> {
  /** Rows of each kind of piece, and whether they are markers (1) or not (0). */
  readonly kindRows: Int32Array;
  readonly kindMarkers: Int32Array;
  /** Kind of each site. */
  readonly sites: Int32Array;
  /** Sites of all layouts, one after the other; `[layouts + 1]` where they begin. */
  readonly layouts: Int32Array;
  readonly layoutBegins: Int32Array;
  /** Of a capsule of each layout; 0: not to be served. */
  readonly layoutBytes: Int32Array;
}

export type TemplateKind = 'none' | 'markers' | 'group' | 'all';

export interface PerturbOptions {
  readonly slot: number;
  readonly segment: number;
  readonly layer: number;
  readonly kvHead: number;
  /** 0: keys, 1: values. */
  readonly part: number;
  /** Of the part's deviation over the pictures added so far; negative takes the same noise off. */
  readonly relative: number;
  readonly seed: number;
}

/** What is gathered from an engine's raw segments, and what is fitted from it. Calls run between the engine's steps. */
export interface NativeCalibration {
  /** Adds a raw segment's covered rows (ascending row numbers) to the statistics. */
  addToGram(slot: number, segment: number, covered: Int32Array): Promise<void>;
  /**
   * What these slots append from now on tells how much the rows of their raw segment are attended to; no slots: none
   * any more.
   */
  observe(slots: Int32Array, segment: number): Promise<void>;
  /** Adds Gaussian noise to one part of a raw segment, over the rows' weights; gives its squared size. */
  perturb(options: PerturbOptions): Promise<number>;
  /** Fits a profile from the pictures of one number of tokens and writes it. */
  fit(options: FitOptions): Promise<void>;
  /** The same for a profile of packed rows. */
  fitPacked(options: PackedFitOptions): Promise<void>;
  /** The same for one profile of many grids, from everything added. */
  fitPieces(options: PieceFitOptions): Promise<void>;
  /**
   * What has been gathered goes to a file; reading one back gives the covered tokens and the number of pictures of
   * each grid, one after the other.
   */
  saveStatistics(path: string): Promise<void>;
  loadStatistics(path: string): Promise<Int32Array>;
}
