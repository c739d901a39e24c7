import cluster, { type Worker } from 'node:cluster';
import { EventEmitter } from 'node:events';
import { createLogger } from '@kvcapsule/platform/logging';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Settings } from '../settings.js';
import type { FromProcess, ToProcess } from './messages.js';
import { ProcessSlot } from './process-slot.js';

/** Handed on as they are, whatever is in them. */
const SETTINGS = { port: 1 } as Settings;
const READY: FromProcess = { kind: 'ready', ready: { url: 'http://127.0.0.1:1', models: [] } };

/** A process that says what a test has it say, and ends when it is killed. */
class FakeProcess extends EventEmitter {
  readonly settings: Settings[] = [];
  readonly heard: ToProcess[] = [];
  readonly signals: string[] = [];
  /** Answers questions after its pulse. */
  isAlive = true;
  readonly process = {
    pid: 1,
    kill: (signal: string) => {
      this.signals.push(signal);
      if (signal === 'SIGKILL') this.emit('exit', null, signal);
    },
  };

  isConnected(): boolean {
    return true;
  }

  send(message: ToProcess): boolean {
    if (message.kind === 'settings') this.settings.push(message.settings);
    else this.heard.push(message);
    if (message.kind === 'pulse' && this.isAlive) this.emit('message', message);
    return true;
  }
}

const processes: FakeProcess[] = [];
let slot: ProcessSlot;

beforeEach(() => {
  vi.useFakeTimers();
  processes.length = 0;
  vi.spyOn(cluster, 'fork').mockImplementation(() => {
    const started = new FakeProcess();
    processes.push(started);
    return started as unknown as Worker;
  });
  const nobody = { said: () => undefined, ended: () => undefined };
  slot = new ProcessSlot(SETTINGS, createLogger({ name: 'test', level: 'silent' }), nobody);
  slot.start();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('a process of a router', () => {
  it('is told at each of its starts what it is to run by', () => {
    processes[0]?.emit('exit', 1, null);
    vi.advanceTimersByTime(500);
    expect(processes.map(({ settings }) => settings)).toEqual([[SETTINGS], [SETTINGS]]);
  });

  it('is left alone for as long as it answers, and while it starts', () => {
    vi.advanceTimersByTime(600_000);
    expect(processes[0]?.heard).toEqual([]);
    processes[0]?.emit('message', READY);
    vi.advanceTimersByTime(600_000);
    expect(processes[0]?.heard.length).toBe(600);
    expect(processes[0]?.signals).toEqual([]);
  });

  it('that hangs for half a minute is ended and started again; one that comes back before is not', () => {
    const [first] = processes as [FakeProcess];
    first.emit('message', READY);
    first.isAlive = false;
    vi.advanceTimersByTime(29_000);
    first.isAlive = true;
    vi.advanceTimersByTime(60_000);
    expect(first.signals).toEqual([]);
    first.isAlive = false;
    vi.advanceTimersByTime(32_000);
    expect(first.signals).toEqual(['SIGKILL']);
    processes[1]?.emit('message', READY);
    vi.advanceTimersByTime(60_000);
    expect(processes.map(({ signals }) => signals)).toEqual([['SIGKILL'], []]);
  });

  it('that hangs while it is to end is ended, and not started again', () => {
    const [first] = processes as [FakeProcess];
    first.emit('message', READY);
    first.isAlive = false;
    slot.stop();
    vi.advanceTimersByTime(90_000);
    expect(first.signals).toEqual(['SIGTERM', 'SIGKILL']);
    expect([processes.length, slot.isRunning]).toEqual([1, false]);
  });
});
