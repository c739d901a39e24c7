import { describe, expect, it } from 'vitest';
import { readableLogLine } from './log-line.js';

describe('readableLogLine', () => {
  it.each([
    ['{"level":60,"msg":"stopping failed","err":{"message":"no pool"}}', 'fatal: stopping failed: no pool'],
    ['{"level":30,"msg":"registered"}', 'info: registered'],
    ['{"event":"ready"}', '{"event":"ready"}'],
    ['{broken', '{broken'],
    ['Segmentation fault', 'Segmentation fault'],
  ])('reads %s', (line, text) => {
    expect(readableLogLine(line)).toBe(text);
  });
});
