import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { LogFile } from './log-file.js';

describe('LogFile', () => {
  const root = mkdtempSync(join(tmpdir(), 'kvc-log-'));
  let dir: string;
  let warnings: string[];
  let tests = 0;
  beforeEach(() => {
    dir = join(root, String(tests++));
    mkdirSync(dir);
    warnings = [];
  });
  afterAll(() => {
    chmodSync(root, 0o700);
    rmSync(root, { recursive: true, force: true });
  });

  const open = (path: string, more = {}) =>
    new LogFile({ path, warn: (message) => warnings.push(message), retryMs: 20, ...more });

  it('keeps every line, across files of bounded size and number', async () => {
    const path = join(dir, 'part.log');
    const log = open(path, { maxBytes: 100, keep: 2 });
    for (let line = 0; line < 60; line += 1) {
      log.write(`line ${String(line).padStart(2, '0')}`);
      if (line % 10 === 0) await sleep(5);
    }
    await log.close();
    const files = readdirSync(dir).sort();
    expect(files).toEqual(['part.log', 'part.log.1', 'part.log.2']);
    for (const file of files) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(110);
    const kept = ['part.log.2', 'part.log.1', 'part.log'].map((file) =>
      readFileSync(join(dir, file), 'utf8'),
    );
    const lines = kept.join('').trimEnd().split('\n');
    expect(lines.at(-1)).toBe('line 59');
    expect(lines).toEqual(lines.toSorted());
    expect(warnings).toEqual([]);
  });

  it('keeps files of bounded size when lines come faster than any file opens', async () => {
    const log = open(join(dir, 'part.log'), { maxBytes: 100, keep: 9 });
    for (let line = 0; line < 60; line += 1) log.write(`line ${String(line).padStart(2, '0')}`);
    await log.close();
    for (const file of readdirSync(dir)) expect(statSync(join(dir, file)).size).toBeLessThanOrEqual(110);
    expect(readdirSync(dir)).toHaveLength(5);
    expect(warnings).toEqual([]);
  });

  it('goes on in a file that an earlier run left', async () => {
    const path = join(dir, 'part.log');
    for (const word of ['one', 'two']) {
      const log = open(path);
      log.write(word);
      await log.close();
    }
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
  });

  it('loses lines with one warning where the disk is full, and goes on when there is room', async () => {
    const log = open('/dev/full');
    for (let line = 0; line < 20; line += 1) {
      log.write('nobody keeps this');
      await sleep(5);
    }
    await log.close();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/^log lines are lost: \/dev\/full: ENOSPC/);
  });

  it('survives a folder that is taken away, and says how many lines are missing', async () => {
    const gone = join(dir, 'gone');
    const log = open(join(gone, 'part.log'));
    log.write('lost');
    await sleep(10);
    log.write('lost too');
    mkdirSync(gone);
    await sleep(40);
    log.write('kept');
    await log.close();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('ENOENT');
    expect(readFileSync(join(gone, 'part.log'), 'utf8')).toBe('2 lines were lost here\nkept\n');
  });

  it.runIf(process.getuid?.() === 0)('survives a file system without room', async () => {
    const mount = join(dir, 'small');
    mkdirSync(mount);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', mount], { stdio: 'ignore' });
    } catch {
      return; // a container may not mount; the full device above shows the same
    }
    try {
      const log = open(join(mount, 'part.log'));
      for (let line = 0; line < 200; line += 1) {
        log.write('x'.repeat(1_000));
        if (line % 20 === 0) await sleep(2);
      }
      await log.close();
      expect(warnings.length).toBeGreaterThan(0);
    } finally {
      execFileSync('umount', ['-l', mount]);
    }
  });
});
