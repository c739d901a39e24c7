import type { ErrorBody } from '@kvcapsule/contracts/openai';
import { signal } from '@preact/signals';

const STORED_AS = 'kvcapsule.key';

/** The key for this tab; it is forgotten with it. */
export const apiKey = signal(sessionStorage.getItem(STORED_AS) ?? '');
/** The server has asked for a key, or refused the one it was given. */
export const keyWanted = signal(false);

export function useKey(key: string): void {
  if (key === '') sessionStorage.removeItem(STORED_AS);
  else sessionStorage.setItem(STORED_AS, key);
  apiKey.value = key;
  keyWanted.value = false;
}

/** What the server answered in place of what was asked for. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Addresses are relative to the page, so that a path prefix before it stands before them, too. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (apiKey.value !== '') headers.set('authorization', `Bearer ${apiKey.value}`);
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  if (response.status === 401) keyWanted.value = true;
  throw await errorOf(response);
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => undefined)) as Partial<ErrorBody> | undefined;
  const { code, message } = body?.error ?? {};
  return new ApiError(
    response.status,
    code ?? 'unknown',
    message ?? `The server answered ${response.status}.`,
  );
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : {});
  return (await response.json()) as T;
}
