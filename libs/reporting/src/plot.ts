import { plot } from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { escapeHtml } from './escape.js';
import type { PlotBlock, PlotSize } from './report.js';

/** Okabe and Ito's colours that are seen on white and on black: told apart without seeing red and green as different. */
export const PALETTE = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8a8a8a'] as const;

export const colourOf = (index: number): string => PALETTE[index % PALETTE.length] ?? 'currentColor';

/** Letters keep their size on every screen: each kind gets a drawing of its own, not one that is scaled down. */
const SIZES: readonly (readonly [name: string, size: PlotSize])[] = [
  ['wide', { width: 1080, height: 440 }],
  ['medium', { width: 640, height: 400 }],
  ['narrow', { width: 340, height: 320 }],
];
const FONT = { fontSize: '12px' };

/** The drawing alone, for a screen of one size. */
export function svgOf({ caption, draw }: Pick<PlotBlock, 'caption' | 'draw'>, size: PlotSize): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const drawn = plot({ document, ...size, ariaLabel: caption, style: FONT, ...draw(size) });
  drawn.setAttribute('role', 'img');
  return drawn.outerHTML;
}

function legendOf({ legend = [], key = [] }: PlotBlock): string {
  const names = legend.map(
    ({ name, colour, dashed }) =>
      `<li><i style="border-top:3px ${dashed === true ? 'dashed' : 'solid'} ${colour}"></i>${escapeHtml(name)}</li>`,
  );
  const numbered = key.map((name, index) => `<li><b>${index + 1}</b> ${escapeHtml(name)}</li>`);
  return [names, numbered]
    .filter(({ length }) => length > 0)
    .map((items) => `<ul class="legend">${items.join('')}</ul>`)
    .join('\n');
}

/** A figure with the plot for each kind of screen, its caption above it and its legend below. */
export function plotHtml(block: PlotBlock): string {
  const drawings = SIZES.map(([name, size]) => `<div class="${name}">${svgOf(block, size)}</div>`);
  return `<figure><figcaption>${escapeHtml(block.caption)}</figcaption>\n${drawings.join('\n')}\n${legendOf(block)}</figure>`;
}
