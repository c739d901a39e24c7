import type {
  EncodedImage,
  ImageWatch,
  NativeCalibration,
  NativeEngine,
  NativeEngineInfo,
  StepPlan,
  StepResult,
} from '@kvcapsule/engine';

/** What serves of an engine without arithmetic; the verbs of calibration and evaluation reject. */
export abstract class ServingEngine implements NativeEngine {
  abstract readonly info: NativeEngineInfo;
  readonly calibration: NativeCalibration = {
    ...{ addToGram: notHere, observe: notHere, perturb: notHere },
    ...{ fit: notHere, fitPacked: notHere, fitPieces: notHere },
    ...{ saveStatistics: notHere, loadStatistics: notHere },
  };

  abstract encodeImage(
    rgb: Uint8Array,
    width: number,
    height: number,
    watch?: ImageWatch,
  ): Promise<EncodedImage>;
  abstract watchImage(): ImageWatch;
  abstract releaseImage(handle: number): Promise<void>;
  abstract step(plan: StepPlan): Promise<StepResult>;
  abstract readPages(pages: Int32Array): Promise<Uint8Array>;
  abstract writePages(pages: Int32Array, bytes: Uint8Array): Promise<void>;
  abstract dispose(): Promise<void>;

  readRows(): Promise<Float32Array> {
    return notHere();
  }
}

function notHere(): Promise<never> {
  return Promise.reject(new Error('not here'));
}
