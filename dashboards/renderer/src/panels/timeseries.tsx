import { type ReactElement } from 'react';

import { type DataFrame, type Field, FieldType, type TimeRange } from '@grafana/data';
import { type UPlotConfigBuilder, TimeSeries } from '@grafana/ui';

import { overlay } from '../annotations';
import { diamonds } from '../exemplars';
import { withGaps } from '../gaps';
import { NoData } from './noData';
import { type PanelProps } from './props';

const LEGEND = { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] };

/** Numbers only, and what is no finite number is nothing, as in Grafana's own panel. */
function graphable(frames: DataFrame[], { from, to }: TimeRange): DataFrame[] {
  const fields = (frame: DataFrame): Field[] => frame.fields
    .filter(({ type }) => type === FieldType.time || type === FieldType.number || type === FieldType.boolean)
    .map((field) => field.type === FieldType.time ? field : {
      ...field, type: FieldType.number,
      values: field.values.map((value) => {
        const number = typeof value === 'boolean' ? Number(value) : value;
        return Number.isFinite(number) ? number : null;
      }),
    });
  return frames
    .map((frame) => ({ ...frame, fields: fields(frame) }))
    .filter((frame) => frame.length > 0 && frame.fields.some(({ type }) => type === FieldType.time)
      && frame.fields.some(({ type }) => type === FieldType.number))
    .map((frame) => withGaps(frame, from.valueOf(), to.valueOf()));
}

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
      frames={shown} width={width} height={height} timeRange={timeRange} timeZone="utc" structureRev={1}
      legend={{ ...LEGEND, ...options['legend'] }} options={options}
    >
      {draw}
    </TimeSeries>
  );
}
