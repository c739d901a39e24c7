import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { reportEntries } from '@kvcapsule/evaluation/fidelity';
import { registerEval } from './eval.command.js';
import type { EvalReport } from '@kvcapsule/evaluation/fidelity';
import type { SceneRecord } from '@kvcapsule/evaluation/fidelity';
import type { Resolved } from '@kvcapsule/evaluation/fidelity';
import { evalReport, paretoFront } from '@kvcapsule/evaluation/report';
import { renderHtml, renderMarkdown } from '@kvcapsule/reporting';

const BYTES = { tokens: 10, heldBytes: 400, sharedBytes: 1000, encodingBytes: 1400 };
const PICTURE = { tokens: 10, visualTokens: 8, rawBytes: 1000 };
const RESOLVED: Resolved[] = [
  {
    key: 'r',
    codec: 'raw',
    entry: { name: 'raw', codec: 'raw', group: 'rival' },
    bytes: { ...BYTES, sharedBytes: 0 },
    kept: [],
  },
  {
    key: 't',
    codec: 'capsule',
    entry: {
      name: 'thin <1>',
      profile: 'p',
      group: 'ours',
      claim: { ratio: 2.5, klNats: 0.292, points: 30 },
    },
    bytes: BYTES,
    kept: [
      { layer: 0, part: 'keys', retention: 0.25, bitsPerRow: 3.5 },
      { layer: 0, part: 'values', retention: 0.5, bitsPerRow: 4 },
    ],
    format: 2,
  },
  {
    key: 'b',
    codec: 'raw',
    entry: { name: 'blurred', codec: 'raw', detail: 64, hard: true, group: 'rival' },
    bytes: BYTES,
    kept: [],
    detail: 64,
  },
];

/** Of one and three rows, in two layers. */
const COSINES_OF_SCENE = [1, 3].map((samples) => ({
  samples,
  sums: [[1, 0.9, 0.8, 0.7].map((cosine) => samples * cosine), [samples, samples, samples, samples - 1]],
}));

/** Scenes of two questions; of the first two only the second question is one that `wrong` gets wrong. */
function recordsOf({ key }: Resolved, suite: SceneRecord['suite'], scenes: number): SceneRecord[] {
  const place = {
    questions: {},
    conversations: { turn: 10 },
    several: { pictures: 2, place: 1 },
    attention: {},
  }[suite];
  const wrong = { r: [], t: [1], b: [0, 1] }[key] ?? [];
  return Array.from({ length: scenes }, (_, scene) => ({
    entry: key,
    suite,
    scene,
    ...(suite === 'attention' && key === 't' && { cosines: COSINES_OF_SCENE[scene] }),
    outcomes: [0, 1].map((question) => ({
      kind: question === 0 ? ('cell' as const) : ('list' as const),
      correct: !(question === 1 && wrong.includes(scene)),
      klNats: key === 'r' ? [] : [0.5, 0.25, 0.125],
      agreed: 2,
      ...place,
    })),
  }));
}

const REPORT: EvalReport = {
  command: 'kvcapsule eval',
  commit: 'abc',
  date: '2026-01-01',
  machines: ['some CPU'],
  scenes: { questions: 2, conversations: 2, several: 2, attention: 0 },
  seed: 2001,
  artwork: 'known',
  modelRevision: 'r',
  weights: 'f32',
  kvDtype: 'f16',
  picture: PICTURE,
  peakResidentBytes: 123_456,
  entries: reportEntries(RESOLVED, PICTURE, {
    own: (one, suite) => recordsOf(one, suite, 2),
    raw: (one, suite) => recordsOf(one, suite, 2),
  }),
};

describe('reportEntries', () => {
  const [, thin] = REPORT.entries;

  it('divides what is shared among the resident pictures', () => {
    expect(thin).toMatchObject({ ratio: 2.5, ratioShared: { 1: 1000 / 1400, 10: 2, 100: 1000 / 410 } });
  });

  it('pairs an entry that is asked about more scenes with raw on all of them', () => {
    const [raw, most] = reportEntries(RESOLVED, PICTURE, {
      own: (one, suite) => recordsOf(one, suite, one.key === 't' ? 4 : 2),
      raw: (one, suite) => recordsOf(one, suite, 4),
    });
    expect(raw?.questions).toMatchObject({ questions: 4, correct: 4 });
    expect(most?.questions).toMatchObject({ questions: 8, correct: 7, againstRaw: { lost: 1, won: 0 } });
  });

  it('asks the hard questions of every entry: those that the marked one gets wrong', () => {
    expect(thin?.hard).toMatchObject({ questions: 2, correct: 1, againstRaw: { lost: 1, won: 0 } });
  });

  it('tells kinds, places and how far along the answer a token stands apart', () => {
    expect(thin?.byKind).toMatchObject({
      cell: { correct: 2, questions: 2 },
      list: { correct: 1, questions: 2 },
    });
    expect(thin?.byPosition).toMatchObject([
      { from: 0, to: 2, tokens: 8, klMean: 0.375, klP99: 0.5 },
      { from: 2, to: 4, tokens: 4, klMean: 0.125, klP99: 0.125 },
    ]);
    expect(thin?.conversations).toMatchObject([{ turn: 10, summary: { questions: 4 } }]);
    expect(thin?.several).toMatchObject([{ pictures: 2, place: 1, summary: { questions: 4 } }]);
  });
});

describe('renderMarkdown', () => {
  const text = renderMarkdown(evalReport(REPORT));

  it('has a row an entry in every table and what it takes to measure again', () => {
    expect(text).toContain(
      '| thin <1> | 2.50 | 75.00 % (3/4) | -25.00 [-50.00, 0.00] | 1 (25.00 %) | 0 (0.00 %) | 0.291667 ',
    );
    expect(text).toContain('| thin <1> | 10 | 400 | 1000 | 1400 | 2.50 | 0.71 | 2.00 | 2.44 |');
    expect(text).toContain('Hard: the questions that “blurred” gets wrong.');
    expect(text).toContain('| thin <1> | question 10 | 75.00 % (3/4) |');
    expect(text).toContain('| thin <1> | 1 of 2 | 75.00 % (3/4) |');
    expect(text).toContain(
      '| thin <1> | 0 | 25.00 | 3.50 | 50.00 | 4.00 | 1.00000 | 0.90000 | 0.80000 | 0.70000 |',
    );
    expect(text).toContain('| thin <1> | 1 | – | – | – | – | 1.00000 | 1.00000 | 1.00000 | 0.50000 |');
    expect(text).toContain('| commit | abc |');
  });

  it('lets a claim hold at the worse end of its interval only', () => {
    expect(text).toContain('| thin <1> | ratio at least 2.5 | – | 2.50 | – | yes |');
    expect(text).toContain('| thin <1> | mean KL at most 0.292 | 4 | 0.291667 | 0.291667 | yes |');
    expect(text).toContain('| thin <1> | accuracy lost at most 30 points | 4 | -25.00 | -50.00 | NO |');
  });
});

describe('renderHtml', () => {
  it('stands alone: nothing from elsewhere, names escaped', () => {
    const html = renderHtml(evalReport(REPORT));
    expect(html).not.toMatch(/<link|<img|src=|href=|@import|url\(/);
    expect(html).toContain('thin &lt;1&gt;');
    expect(html).not.toContain('thin <1>');
    // two plots for three kinds of screens
    expect(html.match(/<svg/g)).toHaveLength(6);
    expect(html).not.toContain('NaN');
  });
});

describe('paretoFront', () => {
  it('keeps what nothing beats in both', () => {
    const points = [
      [1, 3],
      [2, 1],
      [2, 2],
      [4, 2],
      [8, 5],
      [6, 6],
    ].map(([ratio = 0, value = 0]) => ({ ratio, y: { value } }));
    const front = paretoFront(points, (a, b) => a < b);
    expect(front.map(({ ratio, y }) => [ratio, y.value])).toEqual([
      [2, 1],
      [4, 2],
      [8, 5],
    ]);
  });
});

describe('flags', () => {
  const run = (...args: string[]) => {
    const program = new Command();
    registerEval(program);
    return program.parseAsync(args, { from: 'user' });
  };
  const model = ['--model', 'no such folder', '--out', 'out.json'];

  it.each([
    ['--artwork', 'mine'],
    ['--scenes', '0'],
    ['--questions', '13'],
    ['--several', '-1'],
    ['--seed', '1.5'],
    ['--entries', 'no-such-file.json'],
    ['--shard', '3/2'],
    ['--shard', '0/2'],
  ])('eval refuses %s %s by name', async (flag, value) => {
    await expect(run('eval', '--model', '.', '--out', 'out.json', flag, value)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(flag) as string,
    });
  });

  it('refuses an output that cannot be written before any work', async () => {
    const out = ['--model', '.', '--out', 'no-such-folder/out.json'];
    const refusal = { code: 'CONFIG_INVALID', message: expect.stringContaining('--out') as string };
    await expect(run('eval', ...out)).rejects.toMatchObject(refusal);
  });

  it('names a model folder that is not there', async () => {
    await expect(run('eval', ...model)).rejects.toMatchObject({ code: 'MODEL_INVALID' });
  });
});
