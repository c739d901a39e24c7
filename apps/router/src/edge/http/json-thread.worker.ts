import { parentPort } from 'node:worker_threads';
import type { ParseJob, Verdict } from './json-thread.js';

// Imports packages and types only: under the test runner this file is run by Node itself, straight from its source.

/** What it takes to hand a parsed body over and to check it is bounded by this: some ten milliseconds. */
const MAX_VALUES = 20_000;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Whether a value holds more values than may be; never looks at many more. */
function isTooMuch(root: unknown): boolean {
  const open = [root];
  let values = 1;
  for (let value = open.pop(); open.length > 0 || isObject(value); value = open.pop()) {
    if (!isObject(value)) continue;
    const inner: unknown[] = Array.isArray(value) ? value : Object.values(value);
    values += inner.length;
    if (values > MAX_VALUES) return true;
    for (const one of inner) if (isObject(one)) open.push(one);
  }
  return false;
}

function paramOf(root: unknown): string | undefined {
  const { messages } = root as { messages?: unknown };
  return Array.isArray(messages) && messages.length > 1 ? 'messages' : undefined;
}

function decode(text: Uint8Array): string | undefined {
  try {
    return decoder.decode(text);
  } catch {
    return undefined;
  }
}

function verdictOn(text: Uint8Array): Verdict {
  const json = decode(text);
  if (json === undefined) return { refused: 'utf8' };
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return { refused: 'json' };
  }
  if (isTooMuch(value)) return { refused: 'values', maxValues: MAX_VALUES, param: paramOf(value) };
  return { value };
}

parentPort?.on('message', ({ job, text }: ParseJob) => {
  parentPort?.postMessage({ job, verdict: verdictOn(text) });
});
