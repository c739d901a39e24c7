import { writeFile } from 'node:fs/promises';
import { describeProfile, type PartDescription, type ProfileDetails } from '@kvcapsule/engine';
import type { Command } from 'commander';
import { PALETTE, type PlotBlock, renderHtml, type Report } from '@kvcapsule/reporting';
import * as Plot from '@observablehq/plot';
import { checkOutput } from './output.js';

const SPECTRUM_DB = 60;

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

function layoutTable(layouts: ProfileDetails['layouts']): string[] {
  return [
    'grid    tokens  bytes a capsule',
    ...layouts.map(({ name, tokens, bytes }) =>
      [name.padEnd(6), String(tokens).padStart(6), (bytes > 0 ? String(bytes) : '-').padStart(15)].join('  '),
    ),
  ];
}

const PART_COLUMNS = [
  'layer',
  'part',
  'rows kept',
  'bits a row',
  'bits a channel',
  'error expected',
] as const;

function partCells({
  layer,
  part,
  retention,
  bitsPerRow,
  error,
}: PartDescription): [string, string, ...string[]] {
  return [
    String(layer),
    part,
    percent(retention),
    bitsPerRow.toFixed(2),
    (retention * bitsPerRow).toFixed(2),
    error > 0 ? percent(error) : '-',
  ];
}

/** Text table: what is kept of each layer's keys and values. */
export function profileTable({ metadata, tokens, codec, layouts, parts }: ProfileDetails): string {
  const lines = [
    `codec ${codec}, n = ${tokens}, version ${metadata['version'] ?? '?'}, ${metadata['pictures'] ?? '?'} pictures`,
    ...(metadata['bytes'] === undefined || metadata['bytes'] === '0'
      ? []
      : [`bytes a capsule: ${metadata['bytes']}`]),
    ...(layouts.length === 0 ? [] : ['', ...layoutTable(layouts), '', `of ${layouts[0]?.name ?? ''}:`]),
    '',
    'layer  part    rows kept  bits a row  bits a channel  error expected',
    ...parts.map((part) => {
      const [layer, name, ...numbers] = partCells(part);
      const widths = [10, 10, 14, 15];
      return [
        ...[layer.padStart(5), name.padEnd(6)],
        ...numbers.map((cell, column) => cell.padStart(widths[column] ?? 0)),
      ].join('  ');
    }),
  ];
  return `${lines.join('\n')}\n`;
}

const PART_COLOURS = { keys: PALETTE[0], values: PALETTE[1] } as const;
const LEGEND = [
  { name: 'keys', colour: PART_COLOURS.keys },
  { name: 'values', colour: PART_COLOURS.values },
];
const colour = ({ part }: Pick<PartDescription, 'part'>) => PART_COLOURS[part];

/** A pair of bars for each layer. */
function bars(
  caption: string,
  parts: readonly PartDescription[],
  value: (part: PartDescription) => number,
): PlotBlock {
  return {
    caption,
    legend: LEGEND,
    draw: () => ({
      fx: { label: 'layer', padding: 0.1 },
      x: { axis: null },
      y: { label: null, grid: true },
      marks: [
        Plot.barY(parts, {
          ...{ fx: 'layer', x: 'part', y: value, fill: colour },
          title: (part: PartDescription) =>
            `layer ${part.layer}, ${part.part}: ${value(part).toPrecision(3)}`,
        }),
        Plot.ruleY([0]),
      ],
    }),
  };
}

function spectra(parts: readonly PartDescription[]): PlotBlock {
  const top = Math.max(...parts.flatMap(({ spectrum }) => spectrum.slice(0, 1)), 1e-30);
  const points = parts.flatMap(({ layer, part, spectrum }) =>
    spectrum.map((deviation, rank) => ({
      ...{ line: `${layer} ${part}`, part, rank },
      decibels: Math.max(20 * Math.log10(deviation / top), -SPECTRUM_DB),
    })),
  );
  return {
    caption:
      'Deviation of coefficient rows, strongest first, dB below the strongest; one line for each layer',
    legend: LEGEND,
    draw: () => ({
      x: { label: 'row' },
      y: { label: null, grid: true },
      marks: [Plot.line(points, { x: 'rank', y: 'decibels', z: 'line', stroke: colour, strokeOpacity: 0.7 })],
    }),
  };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** A page of its own: retention, bits, expected error and spectra. */
export function profileReport({ metadata, tokens, codec, layouts, parts }: ProfileDetails): Report {
  const bitsOf = ({ retention, bitsPerRow }: PartDescription) => retention * bitsPerRow;
  const { bytes, version, pictures } = metadata;
  const figures = [
    ...(bytes === undefined || bytes === '0' ? [] : [{ value: bytes, label: 'bytes a capsule' }]),
    { value: mean(parts.map(bitsOf)).toFixed(2), label: 'bits a channel on average' },
    { value: percent(mean(parts.map(({ retention }) => retention))), label: 'of the rows kept on average' },
  ];
  const plots = [
    bars('Rows kept, share of n', parts, ({ retention }) => retention),
    bars('Bits a channel', parts, bitsOf),
    bars('Squared error expected, share of the variance', parts, ({ error }) => error),
    ...(parts.some(({ spectrum }) => spectrum.length > 0) ? [spectra(parts)] : []),
  ];
  const grids = layouts.map((layout) => [layout.name, String(layout.tokens), String(layout.bytes || '–')]);
  return {
    title: 'Capsule profile',
    summary: `What the profile of codec ${codec} keeps of each layer’s keys and values${layouts[0] === undefined ? '' : `, for its largest grid, ${layouts[0].name}`}.`,
    figures,
    sections: [
      { title: 'By layer', plots, table: { columns: PART_COLUMNS, rows: parts.map(partCells) } },
      ...(grids.length === 0
        ? []
        : [{ title: 'Grids', table: { columns: ['grid', 'tokens', 'bytes a capsule'], rows: grids } }]),
    ],
    provenance: [
      ['codec', codec],
      ['n', String(tokens)],
      ['version', version ?? '?'],
      ['pictures', pictures ?? '?'],
    ],
  };
}

export function registerProfile(program: Command): void {
  program
    .command('profile')
    .description('look into capsule profiles')
    .addHelpText(
      'after',
      `
Examples:
  kvcapsule profile show deploy/models/emoji-vlm/profiles/capsule-r40.safetensors`,
    )
    .command('show')
    .description('what a profile keeps of each layer')
    .argument('<file>', 'profile')
    .option('--html <file>', 'also write a page with plots')
    .option('--json', 'print JSON')
    .action(async (file: string, { html, json }: { html?: string; json?: true }) => {
      if (html !== undefined) await checkOutput(html, '--html');
      const details = await describeProfile(file);
      process.stdout.write(json ? `${JSON.stringify(details, null, 2)}\n` : profileTable(details));
      if (html !== undefined) await writeFile(html, renderHtml(profileReport(details)));
    });
}
