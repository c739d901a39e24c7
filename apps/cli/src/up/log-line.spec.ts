import { describe, expect, it } from 'vitest';
import { readableLogLine, tellsWhy } from './log-line.js';

describe('readableLogLine', () => {
  it.each([
    ['{"level":60,"msg":"stopping failed","err":{"message":"no pool"}}', 'fatal: stopping failed: no pool'],
    ['{"level":30,"msg":"registered"}', 'info: registered'],
    ['{"event":"ready"}', '{"event":"ready"}'],
    ['{"level":"error","msg":"no block","err":"disk full"}', 'error: no block: disk full'],
    ['{broken', '{broken'],
    ['Segmentation fault', 'Segmentation fault'],
  ])('reads %s', (line, text) => {
    expect(readableLogLine(line)).toBe(text);
  });
});

describe('tellsWhy', () => {
  it.each([
    ['{"level":30,"msg":"request completed"}', false],
    ['{"event":"ready"}', false],
    ['{"level":"info","msg":"WAL replay completed"}', false],
    ['', false],
    ['{"level":40,"msg":"Redis does not answer"}', true],
    ['{"level":60,"msg":"an unexpected fault"}', true],
    ['{"level":"ERROR","msg":"no block"}', true],
    ['{broken', true],
    ['Segmentation fault', true],
  ])('%s: %s', (line, tells) => {
    expect(tellsWhy(line)).toBe(tells);
  });
});
