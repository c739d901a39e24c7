import { expect, it } from 'vitest';
import { prefillLine } from './prefill-line.js';

it('shows on a terminal how far the prompt is, and clears it once', () => {
  const written: string[] = [];
  const line = prefillLine({ isTTY: true, write: (text) => written.push(text) });
  line?.clear();
  line?.show('encode', 64, 1088);
  line?.show('prefill', 512, 1137);
  line?.clear();
  line?.clear();
  expect(written).toEqual([
    '\r\x1b[Klooking at the picture: 64 of 1088 tokens',
    '\r\x1b[Kreading the prompt: 512 of 1137 tokens',
    '\r\x1b[K',
  ]);
});

it('is none elsewhere', () => {
  expect(prefillLine({ write: () => undefined })).toBeUndefined();
});
