import type { WorkerRecord } from '@kvcapsule/domain/registry';
import { describe, expect, it } from 'vitest';
import { Throughput } from './throughput.js';

const said = (drawnTokens: number | undefined, epoch = 1) =>
  ({ epoch, load: { pool: drawnTokens === undefined ? undefined : { drawnTokens } } }) as WorkerRecord;

describe('throughput', () => {
  it('is what was drawn between two heartbeats', () => {
    const drawing = new Throughput();
    drawing.note(said(100), 0);
    expect(drawing.perSecond(0)).toBe(0);
    drawing.note(said(150), 2_000);
    expect(drawing.perSecond(2_500)).toBe(25);
  });

  it('is not told by announcements that follow each other at once', () => {
    const drawing = new Throughput();
    drawing.note(said(100), 0);
    drawing.note(said(101), 5);
    expect(drawing.perSecond(5)).toBe(0);
    drawing.note(said(140), 2_000);
    expect(drawing.perSecond(2_000)).toBe(20);
  });

  it('is nothing of a worker that has nothing new to tell, and begins with the heartbeat before', () => {
    const drawing = new Throughput();
    drawing.note(said(0), 0);
    drawing.note(said(20), 2_000);
    expect(drawing.perSecond(6_000)).toBe(0);
    drawing.note(said(60), 60_000);
    expect(drawing.perSecond(60_000)).toBe(20);
  });

  it('begins anew with a new process, and is nothing where nothing is told', () => {
    const drawing = new Throughput();
    drawing.note(said(100), 0);
    drawing.note(said(5, 2), 2_000);
    expect(drawing.perSecond(2_000)).toBe(0);
    drawing.note(said(undefined, 2), 4_000);
    expect(drawing.perSecond(4_000)).toBe(0);
  });
});
