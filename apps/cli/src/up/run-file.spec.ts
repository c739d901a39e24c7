import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readRunFile, writeRunFile } from './run-file.js';

const dir = mkdtempSync(join(tmpdir(), 'kvc-run-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

describe('the file of a run', () => {
  it('is its owner’s alone, told apart by the port, and gone with the run', () => {
    const one = { pid: process.pid, redisUrl: 'redis://:one@127.0.0.1:1' };
    const two = { pid: process.pid, redisUrl: 'redis://:two@127.0.0.1:2' };
    const remove = writeRunFile(dir, '8000', one);
    writeRunFile(dir, '9000', two);
    expect(readdirSync(join(dir, 'run')).sort()).toEqual(['8000.json', '9000.json']);
    expect(statSync(join(dir, 'run')).mode & 0o077).toBe(0);
    expect(statSync(join(dir, 'run/8000.json')).mode & 0o777).toBe(0o600);
    expect(readRunFile([join(dir, 'none'), dir], '8000')).toEqual(one);
    expect(readRunFile([join(dir, 'none'), dir], '9000')).toEqual(two);
    remove();
    expect(readRunFile([join(dir, 'none'), dir], '8000')).toBeUndefined();
  });

  it('takes the place of an earlier one, whoever could read that', () => {
    writeFileSync(join(dir, 'run/7000.json'), '{}', { mode: 0o644 });
    writeRunFile(dir, '7000', { pid: process.pid, redisUrl: 'redis://h' });
    expect(statSync(join(dir, 'run/7000.json')).mode & 0o777).toBe(0o600);
  });

  it('counts for nothing where its process is gone or it is none', () => {
    writeRunFile(dir, '7001', { pid: 2 ** 30, redisUrl: 'redis://h' });
    writeFileSync(join(dir, 'run/7002.json'), '{"pid":1');
    expect(readRunFile([join(dir, 'none'), dir], '7001')).toBeUndefined();
    expect(readRunFile([join(dir, 'none'), dir], '7002')).toBeUndefined();
  });
});
