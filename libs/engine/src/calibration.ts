import type {
  FitOptions,
  NativeCalibration,
  PackedFitOptions,
  PerturbOptions,
  PieceFitOptions,
} from './native-calibration.js';

/** An engine's calibration, whose calls count as the engine's: they reject with KvcError only. */
export class Calibration implements NativeCalibration {
  constructor(
    private readonly native: NativeCalibration,
    private readonly call: <T>(call: () => Promise<T>) => Promise<T>,
  ) {}

  addToGram(slot: number, segment: number, covered: Int32Array): Promise<void> {
    return this.call(() => this.native.addToGram(slot, segment, covered));
  }

  fit(options: FitOptions): Promise<void> {
    return this.call(() => this.native.fit(options));
  }

  fitPacked(options: PackedFitOptions): Promise<void> {
    return this.call(() => this.native.fitPacked(options));
  }

  fitPieces(options: PieceFitOptions): Promise<void> {
    return this.call(() => this.native.fitPieces(options));
  }

  observe(slots: Int32Array, segment: number): Promise<void> {
    return this.call(() => this.native.observe(slots, segment));
  }

  saveStatistics(path: string): Promise<void> {
    return this.call(() => this.native.saveStatistics(path));
  }

  loadStatistics(path: string): Promise<Int32Array> {
    return this.call(() => this.native.loadStatistics(path));
  }

  perturb(options: PerturbOptions): Promise<number> {
    return this.call(() => this.native.perturb(options));
  }
}
