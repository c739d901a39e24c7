import { PanelBuilder as GaugesBuilder } from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder, Dataquery as AnyQuery } from '@grafana/grafana-foundation-sdk/cog';
import {
  BarGaugeDisplayMode,
  BarGaugeNamePlacement,
  BarGaugeValueMode,
  BigValueColorMode,
  BigValueGraphMode,
  GraphDrawStyle,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardLinkBuilder,
  DashboardLinkType,
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type Panel as GrafanaPanel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import {
  HeatmapColorMode,
  HeatmapColorOptionsBuilder,
  HeatmapColorScale,
  PanelBuilder as HeatBuilder,
  YAxisConfigBuilder,
} from '@grafana/grafana-foundation-sdk/heatmap';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

import {
  type GaugePanel,
  type HeatPanel,
  type Panel,
  type StatPanel,
  type TimePanel,
} from '../dashboards/board.js';
import { queriesOf } from '../dashboards/board.js';
import { runbookUrl } from '../links.js';
import { chosen, DATASOURCE } from './variables.js';

const HEIGHT = { stat: 5, lines: 8, areas: 8, bars: 8, heat: 8, gauges: 8 };
const LETTERS = 'ABCDEFGHIJKLMNOP';

/** What the builders of all kinds of panels have in common. */
type AnyBuilder = StatBuilder | TimeBuilder | HeatBuilder | GaugesBuilder;

/** A panel as Grafana's SDK builds it. */
export function panelBuilder(panel: Panel): Builder<GrafanaPanel> {
  switch (panel.kind) {
    case 'stat':
      return common(stat(panel), panel);
    case 'lines':
    case 'areas':
    case 'bars':
      return common(times(panel), panel);
    case 'heat':
      return common(heat(panel), panel);
    case 'gauges':
      return common(gauges(panel), panel);
  }
}

function common<B extends AnyBuilder>(builder: B, panel: Panel): B {
  builder
    .title(panel.title)
    .description(panel.description)
    .datasource(DATASOURCE)
    .unit(unitOf(panel))
    .span(panel.width)
    .height(panel.height ?? HEIGHT[panel.kind])
    .targets(targets(panel));
  if (panel.decimals !== undefined) builder.decimals(panel.decimals);
  if (panel.min !== undefined) builder.min(panel.min);
  if (panel.max !== undefined) builder.max(panel.max);
  if (panel.runbook !== undefined)
    builder.links([
      new DashboardLinkBuilder('Runbook')
        .type(DashboardLinkType.Link)
        .url(runbookUrl(panel.runbook))
        .targetBlank(true),
    ]);
  return builder;
}

function unitOf({ unit }: Panel): string {
  if (unit === 'times') return 'suffix:×';
  return unit.includes('/') ? `suffix: ${unit}` : unit;
}

function targets(panel: Panel): Builder<AnyQuery>[] {
  return queriesOf(panel).map(({ expr, legend }, index) => {
    const query = new DataqueryBuilder()
      .refId(LETTERS.charAt(index))
      .datasource(DATASOURCE)
      .expr(chosen(expr))
      .legendFormat(legend);
    if (panel.kind === 'gauges') return query.instant();
    return panel.kind === 'heat' ? query.range().format(PromQueryFormat.Heatmap) : query.range();
  });
}

function thresholds({ thresholds: steps = [] }: Panel): ThresholdsConfigBuilder {
  const base = steps[0]?.from === -Infinity ? [] : [{ value: null, color: 'blue' }];
  const rest = steps.map(({ from, colour }) => ({ value: from === -Infinity ? null : from, color: colour }));
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([...base, ...rest]);
}

function stat(panel: StatPanel): StatBuilder {
  const builder = new StatBuilder()
    .colorMode(BigValueColorMode.Value)
    .graphMode(panel.names === undefined ? BigValueGraphMode.Area : BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(thresholds(panel))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds));
  if (panel.noValue !== undefined) builder.noValue(panel.noValue);
  if (panel.names !== undefined) {
    const options = panel.names.map(({ value, text, colour }, index) => [
      String(value),
      { text, color: colour, index },
    ]);
    builder.mappings([
      { type: MappingType.ValueToText, options: Object.fromEntries(options) as object },
    ] as never);
  }
  return builder;
}

function times(panel: TimePanel): TimeBuilder {
  const builder = new TimeBuilder()
    .drawStyle(panel.kind === 'bars' ? GraphDrawStyle.Bars : GraphDrawStyle.Line)
    .lineWidth(panel.kind === 'bars' ? 0 : 1)
    .fillOpacity({ lines: 6, areas: 30, bars: 80 }[panel.kind])
    .showPoints(VisibilityMode.Never)
    .axisSoftMin(0)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom),
    )
    .tooltip(
      new VizTooltipOptionsBuilder()
        .mode(TooltipDisplayMode.Multi)
        .sort(SortOrder.Descending)
        .hideZeros(true),
    )
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName));
  if (panel.kind !== 'lines') builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
  if (panel.thresholds !== undefined)
    builder
      .thresholds(thresholds(panel))
      .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed));
  return builder;
}

function heat(panel: HeatPanel): HeatBuilder {
  return new HeatBuilder()
    .yAxis(new YAxisConfigBuilder().unit(unitOf(panel)))
    .color(
      new HeatmapColorOptionsBuilder()
        .mode(HeatmapColorMode.Scheme)
        .scheme('Blues')
        .scale(HeatmapColorScale.Exponential)
        .exponent(0.5)
        .steps(64),
    )
    .cellGap(1);
}

function gauges(panel: GaugePanel): GaugesBuilder {
  return new GaugesBuilder()
    .orientation(VizOrientation.Horizontal)
    .displayMode(BarGaugeDisplayMode.Basic)
    .valueMode(BarGaugeValueMode.Color)
    .namePlacement(BarGaugeNamePlacement.Left)
    .showUnfilled(true)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(thresholds(panel))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds));
}
