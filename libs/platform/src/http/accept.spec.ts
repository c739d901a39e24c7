import { expect, it } from 'vitest';
import { prefers } from './index.js';

it.each([
  [undefined, false],
  ['', false],
  ['*/*', false],
  ['text/*', false],
  ['text/html', true],
  ['TEXT/HTML; charset=utf-8', true],
  ['text/html,application/xhtml+xml,*/*;q=0.8', true],
  ['text/html, application/json', true],
  ['text/html;q=0', false],
  ['text/html;q=0.000', false],
  ['application/json, text/html;q=0.9', false],
  ['application/json;q=0.5, text/html;q=0.9', true],
  ['application/json;q=0.5, text/html;q=0, text/html;level=1;q=0.7', true],
  ['text/html;q=nonsense', true],
  ['not-text/html', false],
  [';;,,;q=,text/html', true],
])('finds whether HTML is wanted rather than JSON: %s', (accept, expected) => {
  expect(prefers(accept, 'text/html', 'application/json')).toBe(expected);
});
