import type { ProfileDetails } from '@kvcapsule/engine';
import { describe, expect, it } from 'vitest';
import { renderHtml } from '@kvcapsule/reporting';
import { profileReport, profileTable } from './profile-show.js';

const DETAILS: ProfileDetails = {
  metadata: { version: '2', pictures: '12', bytes: '4096', source: '<b>' },
  tokens: 20,
  codec: 'capsule-mixed',
  layouts: [],
  parts: [
    { layer: 0, part: 'keys', retention: 0.25, bitsPerRow: 3, bytes: 9, error: 0.125, spectrum: [4, 2, 1] },
    { layer: 0, part: 'values', retention: 0.5, bitsPerRow: 2, bytes: 6, error: 0, spectrum: [] },
  ],
};

describe('profile show', () => {
  it('tells rows, bits and error of each part', () => {
    const lines = profileTable(DETAILS).split('\n');
    expect(lines[0]).toBe('codec capsule-mixed, n = 20, version 2, 12 pictures');
    expect(lines[1]).toBe('bytes a capsule: 4096');
    expect(lines[4]?.split(/\s{2,}/)).toEqual(['', '0', 'keys', '25.0 %', '3.00', '0.75', '12.5 %']);
    expect(lines[5]?.trim().endsWith('-')).toBe(true);
  });

  it('names the grids of a profile that has several, the largest first', () => {
    const layouts = [
      { name: '2x4', tokens: 20, bytes: 4096 },
      { name: '1x4', tokens: 11, bytes: 0 },
    ];
    const lines = profileTable({ ...DETAILS, layouts }).split('\n');
    expect(lines.slice(3, 6).map((line) => line.trim().split(/\s{2,}/))).toEqual([
      ['grid', 'tokens', 'bytes a capsule'],
      ['2x4', '20', '4096'],
      ['1x4', '11', '-'],
    ]);
    expect(lines[7]).toBe('of 2x4:');
  });

  it('plots them, a line a spectrum, and tells the means', () => {
    const report = profileReport(DETAILS);
    expect(report.figures).toEqual([
      { value: '4096', label: 'bytes a capsule' },
      { value: '0.88', label: 'bits a channel on average' },
      { value: '37.5 %', label: 'of the rows kept on average' },
    ]);
    const page = renderHtml(report);
    expect(page.match(/<figure/g)).toHaveLength(4);
    expect(page).not.toMatch(/NaN|Infinity/);
  });
});
