import { isErrorCode, KvcError } from '@kvcapsule/contracts';

/** The addon's rejections carry a code of the catalogue; whatever else is thrown is the engine's failure. */
export function toKvcError(error: unknown): KvcError {
  if (error instanceof KvcError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new KvcError(isErrorCode(code) ? code : 'ENGINE_FAILED', message, { cause: error });
}
