import { type ComponentType } from 'react';

import { AlertListPanel } from './alertlist';
import { HeatmapPanel } from './heatmap';
import { type PanelProps } from './props';
import { BarGaugePanel, StatPanel } from './stat';
import { StateTimelinePanel } from './statetimeline';
import { TablePanel } from './table';
import { TextPanel } from './text';
import { TimeSeriesPanel } from './timeseries';

/** What can be drawn; everything else is an error that can be seen. */
export const PANELS: Record<string, ComponentType<PanelProps>> = {
  alertlist: AlertListPanel,
  bargauge: BarGaugePanel,
  heatmap: HeatmapPanel,
  stat: StatPanel,
  'state-timeline': StateTimelinePanel,
  table: TablePanel,
  text: TextPanel,
  timeseries: TimeSeriesPanel,
};
