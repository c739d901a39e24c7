import { describe, expect, it } from 'vitest';
import type { Point } from './measure.js';
import { renderHtml, renderMarkdown } from '@kvcapsule/reporting';
import { engineReport } from './engine-report.js';
import { rowsOf, type BenchReport } from './report.js';

const ROOF = { readBytesPerSecond: 1e10, flopsPerSecond: 1e11 };
const TEXT: Point = {
  content: 'text',
  kind: 'decode',
  batch: 2,
  context: 64,
  seconds: { kvcapsule: [0.001, 0.002, 0.001], 'llama.cpp': [0.003, 0.004, 0.001] },
  cpuSeconds: { kvcapsule: [0.002, 0.002, 0.002], 'llama.cpp': [0.006, 0.006, 0.006] },
  agreement: { 'llama.cpp': 0.5 },
};
const PICTURES: Point = {
  content: 'pictures',
  kind: 'decode',
  batch: 1,
  context: 4096,
  seconds: { raw: [0.01, 0.01, 0.01], q4: [0.005, 0.005, 0.005] },
  cpuSeconds: { raw: [0.01, 0.01, 0.01], q4: [0.008, 0.008, 0.008] },
  agreement: {},
};
const REPORT: BenchReport = {
  command: 'kvcapsule bench engine',
  commit: 'abc',
  date: '2026-01-01',
  machine: 'a <machine>',
  arithmetic: 'cpu-avx2-1',
  load: [1, 2],
  threads: 2,
  weights: 'f32',
  weightBytes: 1e6,
  peers: ['llama.cpp'],
  geometry: {
    name: 'tiny',
    layers: 1,
    hidden: 64,
    intermediate: 128,
    heads: 1,
    kvHeads: 1,
    headDim: 64,
    vocab: 100,
  },
  roof: ROOF,
  cacheRoof: ROOF,
  storage: { q4: { bytesShare: 0.25, macsShare: 1 } },
  points: [TEXT, PICTURES],
};

describe('rows of the report', () => {
  it('divides a peer by this engine round by round', () => {
    const [own, peer] = rowsOf(REPORT, TEXT);
    expect(own?.ratio?.median).toBe(1);
    // 3, 2 and 1
    expect(peer?.ratio?.median).toBe(2);
    expect(peer?.cpuRatio?.median).toBeCloseTo(3, 12);
    expect(peer?.cpuMilliseconds).toBeCloseTo(6, 12);
    expect(own?.tokensPerSecond).toBeCloseTo(2000, 6);
    expect(peer?.agreement).toBe(0.5);
  });

  it('divides raw by a codec, and bounds the ratio by bytes and operations', () => {
    const q4 = rowsOf(REPORT, PICTURES).find(({ side }) => side === 'q4');
    expect(q4?.ratio?.median).toBe(2);
    expect(q4?.ceiling).toBeGreaterThan(1);
    expect(q4?.ceiling).toBeLessThan(4);
  });

  it('tells what share of the roof was reached, which cannot pass 1 for honest times', () => {
    for (const row of [...rowsOf(REPORT, TEXT), ...rowsOf(REPORT, PICTURES)]) {
      expect(row.reached).toBeGreaterThan(0);
      expect(row.reached).toBeLessThan(1);
    }
  });

  it('renders every point, the ceilings of the published models and charts', () => {
    const markdown = renderMarkdown(engineReport(REPORT));
    for (const word of ['llama.cpp', 'q4', 'Qwen2.5-VL-7B', 'Qwen3-VL-8B', 'SmolVLM2', 'load average']) {
      expect(markdown).toContain(word);
    }
    const html = renderHtml(engineReport(REPORT));
    expect(html).toContain('<svg');
    expect(html).toContain('a &lt;machine&gt;');
    expect(html).not.toContain('NaN');
    expect(engineReport(REPORT).figures).toEqual([
      { value: '2.00×', label: 'as long for llama.cpp to decode text' },
      { value: '2.00×', label: 'raw’s speed of decoding after pictures, q4' },
    ]);
  });
});
