import { writeFile } from 'node:fs/promises';
import { describeProfile, type PartDescription, type ProfileDetails } from '@kvcapsule/engine';
import type { Command } from 'commander';
import { escapeXml, htmlPage, linePath, type PlotFrame, svgPlot } from '@kvcapsule/evaluation/report';
import { checkOutput } from './output.js';

const MARGIN = 40;
const FRAME: PlotFrame = {
  width: 640,
  height: 240,
  margin: { left: MARGIN, right: MARGIN, top: MARGIN, bottom: MARGIN },
};
const { width: WIDTH, height: HEIGHT } = FRAME;
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
    ...parts.map(({ layer, part, retention, bitsPerRow, error }) =>
      [
        String(layer).padStart(5),
        part.padEnd(6),
        percent(retention).padStart(10),
        bitsPerRow.toFixed(2).padStart(10),
        (retention * bitsPerRow).toFixed(2).padStart(14),
        (error > 0 ? percent(error) : '-').padStart(15),
      ].join('  '),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function bars(
  title: string,
  parts: readonly PartDescription[],
  value: (part: PartDescription) => number,
): string {
  const top = Math.max(...parts.map(value), 1e-9);
  const step = (WIDTH - 2 * MARGIN) / parts.length;
  const shapes = parts.map((part, index) => {
    const height = ((HEIGHT - 2 * MARGIN) * value(part)) / top;
    const x = MARGIN + index * step;
    const label = `${part.layer}${part.part[0] ?? ''}`;
    return [
      `<rect class="${part.part}" x="${x.toFixed(1)}" y="${(HEIGHT - MARGIN - height).toFixed(1)}"`,
      ` width="${(step * 0.8).toFixed(1)}" height="${height.toFixed(1)}"/>`,
      `<text x="${(x + step * 0.4).toFixed(1)}" y="${HEIGHT - MARGIN + 14}" text-anchor="middle">${label}</text>`,
      `<text x="${(x + step * 0.4).toFixed(1)}" y="${(HEIGHT - MARGIN - height - 4).toFixed(1)}"`,
      ` text-anchor="middle">${value(part).toFixed(2)}</text>`,
    ].join('');
  });
  return figure(title, shapes.join('\n'));
}

function spectra(parts: readonly PartDescription[]): string {
  const top = Math.max(...parts.flatMap(({ spectrum }) => spectrum.slice(0, 1)), 1e-30);
  const lines = parts.map(({ part, spectrum }) => {
    const points = spectrum.map((deviation, rank) => {
      const decibels = Math.max(20 * Math.log10(deviation / top), -SPECTRUM_DB);
      const x = MARGIN + ((WIDTH - 2 * MARGIN) * rank) / spectrum.length;
      return [x, MARGIN - ((HEIGHT - 2 * MARGIN) * decibels) / SPECTRUM_DB] as const;
    });
    return `<path class="line ${part}" d="${linePath(points)}"/>`;
  });
  return figure(`Deviation of coefficient rows, strongest first, 0 to -${SPECTRUM_DB} dB`, lines.join('\n'));
}

function figure(title: string, shapes: string): string {
  return `<h2>${title}</h2>\n${svgPlot(FRAME, title, [shapes])}`;
}

const STYLE = `
text { font-size: 9px; }
.keys { fill: #2b6cb0; stroke: #2b6cb0; } .values { fill: #dd6b20; stroke: #dd6b20; } .line { fill: none; }
`;

/** A page of its own: retention, bits, expected error and spectra. */
export function profileHtml(details: ProfileDetails): string {
  const { parts } = details;
  const figures = [
    bars('Rows kept, share of n (k keys, v values)', parts, ({ retention }) => retention),
    bars('Bits a channel', parts, ({ retention, bitsPerRow }) => retention * bitsPerRow),
    bars('Squared error expected, share of the variance', parts, ({ error }) => error),
    ...(parts.some(({ spectrum }) => spectrum.length > 0) ? [spectra(parts)] : []),
  ];
  const body = `<pre>${escapeXml(profileTable(details))}</pre>\n${figures.join('\n')}`;
  return htmlPage('Capsule profile', body, STYLE);
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
    .action(async (file: string, { html }: { html?: string }) => {
      if (html !== undefined) await checkOutput(html, '--html');
      const details = await describeProfile(file);
      process.stdout.write(profileTable(details));
      if (html !== undefined) await writeFile(html, profileHtml(details));
    });
}
