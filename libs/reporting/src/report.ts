import type { PlotOptions } from '@observablehq/plot';

/** A number that matters, large, with what it is under it. */
export interface KeyFigure {
  /** With its unit. */
  readonly value: string;
  readonly label: string;
}

/** A table; columns of numbers stand right and sort by the number that a cell begins with. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Room that a plot has, in CSS pixels. */
export interface PlotSize {
  readonly width: number;
  readonly height: number;
}

export interface PlotBlock {
  /** What is drawn, for those who see it and those who do not. */
  readonly caption: string;
  /** Names and colours of what is drawn, in the order of reading. */
  readonly legend?: readonly { readonly name: string; readonly colour: string; readonly dashed?: boolean }[];
  /** What points marked 1, 2, 3 … are. */
  readonly key?: readonly string[];
  readonly draw: (size: PlotSize) => PlotOptions;
}

export interface Section {
  readonly title: string;
  /** What the numbers are, in whole sentences. */
  readonly note?: string;
  readonly plots?: readonly PlotBlock[];
  readonly table?: Table;
  /** Folded until somebody opens it. */
  readonly detail?: boolean;
}

/** What was measured, in the order of reading. */
export interface Report {
  readonly title: string;
  /** What was found, in a sentence or two. */
  readonly summary: string;
  readonly figures: readonly KeyFigure[];
  readonly sections: readonly Section[];
  /** What it takes to measure again. */
  readonly provenance: readonly (readonly [name: string, value: string])[];
}
