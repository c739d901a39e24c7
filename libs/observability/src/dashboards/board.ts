/** One question to Prometheus, as people write it: the kit adds what the dashboard's variables choose. */
export interface Query {
  readonly expr: string;
  /** Grafana's format of a series' name: `{{label}}` is the value of a label. */
  readonly legend: string;
  /** Why it has no data in a cluster under load that is well; without a reason it must have some. */
  readonly mayBeEmpty?: string;
}

export type Colour = 'green' | 'yellow' | 'orange' | 'red';

/** From `from` on (the lowest step from −∞) a value has this colour. */
export interface Threshold {
  readonly from: number;
  readonly colour: Colour;
}

/** Grafana's ids of units. */
export type Unit =
  'short' | 'none' | 's' | 'bytes' | 'percentunit' | 'reqps' | 'ops' | 'tokens/s' | 'pages/s' | 'times';

interface PanelBase {
  readonly title: string;
  /** What it shows and what to make of it. */
  readonly description: string;
  readonly unit: Unit;
  readonly decimals?: number;
  /** Ascending; drawn as lines in plots. */
  readonly thresholds?: readonly Threshold[];
  /** Of 24 columns. */
  readonly width: number;
  /** In rows of the grid, of 30 pixels each; what is usual for its kind where nothing is said. */
  readonly height?: number;
  readonly min?: number;
  readonly max?: number;
  /** Page of the runbook, where there is one. */
  readonly runbook?: string;
}

/** One large number, with its course behind it. */
export interface StatPanel extends PanelBase {
  readonly kind: 'stat';
  readonly query: Query;
  /** Shown where there is no value. */
  readonly noValue?: string;
  /** In place of numbers. */
  readonly names?: readonly { readonly value: number; readonly text: string; readonly colour: Colour }[];
}

/** Courses over time. */
export interface TimePanel extends PanelBase {
  readonly kind: 'lines' | 'areas' | 'bars';
  readonly queries: readonly Query[];
}

/** How many of a histogram's values fell where, over time. */
export interface HeatPanel extends PanelBase {
  readonly kind: 'heat';
  /** Increases by `le`. */
  readonly query: Query;
}

/** The newest value of each series, as bars of one scale. */
export interface GaugePanel extends PanelBase {
  readonly kind: 'gauges';
  readonly query: Query;
}

export type Panel = StatPanel | TimePanel | HeatPanel | GaugePanel;

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export interface Board {
  /** Of its address in Grafana and of its file: `kvcapsule-NAME`. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Row[];
}

export function queriesOf(panel: Panel): readonly Query[] {
  return 'queries' in panel ? panel.queries : [panel.query];
}

export function panelsOf(board: Board): readonly Panel[] {
  return board.rows.flatMap(({ panels }) => panels);
}
