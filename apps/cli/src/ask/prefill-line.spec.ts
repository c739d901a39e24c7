import { expect, it } from 'vitest';
import { prefillLine } from './prefill-line.js';

it('shows on a terminal how much of the prompt is computed, and clears it once', () => {
  const written: string[] = [];
  const line = prefillLine({ isTTY: true, write: (text) => written.push(text) });
  line?.clear();
  line?.show(512, 1137);
  line?.clear();
  line?.clear();
  expect(written).toEqual(['\r\x1b[Kreading the prompt: 512 of 1137 tokens', '\r\x1b[K']);
});

it('is none elsewhere', () => {
  expect(prefillLine({ write: () => undefined })).toBeUndefined();
});
