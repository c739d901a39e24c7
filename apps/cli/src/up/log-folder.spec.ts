import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { CliError } from '../failure.js';
import { makeLogFolder } from './log-folder.js';

/** No process has it: the kernel's highest is 2^22. */
const GONE = 5_000_000;

describe('makeLogFolder', () => {
  const state = mkdtempSync(join(tmpdir(), 'kvc-state-'));
  afterEach(() => {
    rmSync(join(state, 'log'), { recursive: true, force: true });
  });
  const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute));

  it('gives every run a folder of its own, also two that start in one second', () => {
    const folders = [makeLogFolder([state], at(0), 1), makeLogFolder([state], at(0), process.pid)];
    expect(new Set(folders).size).toBe(2);
    expect(readdirSync(join(state, 'log'))).toHaveLength(2);
  });

  it('keeps what runs and the last ten that have ended, a crashed one among them', () => {
    const running = makeLogFolder([state], at(0), process.pid);
    for (let minute = 1; minute <= 15; minute += 1) {
      const folder = makeLogFolder([state], at(minute), GONE + minute);
      writeFileSync(join(folder, 'worker-0.log'), 'it crashed here\n');
    }
    makeLogFolder([state], at(16), GONE + 16);
    const left = readdirSync(join(state, 'log')).sort();
    expect(left).toHaveLength(12);
    expect(left).toContain(running.split('/').at(-1));
    expect(left[1]).toContain('00-06-00');
  });

  it('takes the next place where it cannot be made, and says what to do where it can be made nowhere', () => {
    const inTheWay = join(state, 'file');
    writeFileSync(inTheWay, '');
    expect(() => makeLogFolder([inTheWay, inTheWay], at(0))).toThrow(CliError);
    expect(makeLogFolder([inTheWay, state], at(0), 1)).toBe(join(state, 'log/2026-01-01T00-00-00-1'));
  });

  it('leaves alone what is none of its own', () => {
    mkdirSync(join(state, 'log/notes'), { recursive: true });
    writeFileSync(join(state, 'log/worker-0.log'), '');
    for (let minute = 0; minute < 14; minute += 1) makeLogFolder([state], at(minute), GONE + minute);
    expect(readdirSync(join(state, 'log'))).toEqual(expect.arrayContaining(['notes', 'worker-0.log']));
  });
});
