import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  RowBuilder,
} from '@grafana/grafana-foundation-sdk/dashboard';

import type { Board } from '../dashboards/board.js';
import { panelBuilder } from './panels.js';
import { variables } from './variables.js';

const TAG = 'kvcapsule';

/** A dashboard as Grafana imports it. */
export function dashboard(board: Board): Dashboard {
  const builder = new DashboardBuilder(board.title)
    .uid(`kvcapsule-${board.name}`)
    .description(board.description)
    .tags([TAG])
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .readonly()
    .tooltip(DashboardCursorSync.Crosshair)
    .variables(variables())
    // the other dashboards, for the same time and the same choice
    .link(
      new DashboardLinkBuilder('KVCapsule')
        .type(DashboardLinkType.Dashboards)
        .tags([TAG])
        .includeVars(true)
        .keepTime(true),
    );
  for (const { title, panels } of board.rows) {
    builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panelBuilder(panel));
  }
  return withIds(builder.build());
}

/** Ids in the order of panels: Grafana's links to a panel hold them. */
function withIds(built: Dashboard): Dashboard {
  return { ...built, panels: (built.panels ?? []).map((panel, index) => ({ ...panel, id: index + 1 })) };
}
