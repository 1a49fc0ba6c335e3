import { type ReactElement } from 'react';

import { type UPlotConfigBuilder, TimeSeries } from '@grafana/ui';

import { overlay } from '../annotations';
import { diamonds } from '../exemplars';
import { graphable, joined } from '../plotFrame';
import { NoData } from './noData';
import { type PanelProps } from './props';

const LEGEND = { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] };

export function TimeSeriesPanel(props: PanelProps): ReactElement {
  const { panel, frames, options, timeRange, theme, width, height } = props;
  const shown = graphable(frames, timeRange);
  if (!shown.length) {
    return <NoData {...props} />;
  }
  const draw = (builder: UPlotConfigBuilder): null => {
    overlay(builder, props.happenings.filter((one) => one.panels(panel.id)), theme);
    diamonds(builder, props.exemplars, theme);
    return null;
  };
  return (
    <TimeSeries
      frames={shown} width={width} height={height} timeRange={timeRange} timeZone="utc" structureRev={1} preparePlotFrame={joined}
      legend={{ ...LEGEND, ...options['legend'] }} options={options}
    >
      {draw}
    </TimeSeries>
  );
}
