import { asKvcError, isErrorCode, type KvcError } from '@kvcapsule/contracts';

/** The addon's rejections carry a code of the catalogue; whatever else is thrown is the engine's failure. */
export function asEngineError(error: unknown): KvcError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return asKvcError(error, isErrorCode(code) ? code : 'ENGINE_FAILED', message);
}
