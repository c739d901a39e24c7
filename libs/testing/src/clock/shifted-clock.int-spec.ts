import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { ShiftedClock } from './shifted-clock.js';

const TELL = `process.stdin.on('data', () => console.log(Date.now(), Math.round(process.uptime() * 1000)))`;

it('shifts the wall clock of a process that runs, and nothing else of it', async () => {
  const clock = await ShiftedClock.make();
  const child = spawn(process.execPath, ['-e', TELL], { env: clock.env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** By how much it is ahead of this process, and how long it has run, in ms. */
  const look = async () => {
    child.stdin.write('\n');
    const { value = '' } = (await lines.next()) as { value?: string };
    const [wall = NaN, uptime = NaN] = value.split(' ').map(Number);
    return { aheadMs: wall - Date.now(), uptime };
  };
  const seen = [];
  for (const shift of [0, 600_000, -600_123, 0]) {
    clock.shift(shift);
    const { aheadMs, uptime } = await look();
    expect(Math.abs(aheadMs - shift)).toBeLessThan(30_000);
    seen.push(uptime);
  }
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect((seen.at(-1) ?? NaN) - (seen[0] ?? NaN)).toBeLessThan(300_000);
  child.stdin.end();
  child.kill();
  await once(child, 'exit');
  clock.remove();
});
