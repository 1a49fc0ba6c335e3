/** A time axis and a y axis by Grafana's uPlot builder, with something painted by hand between them. */
import { type ReactElement, useMemo } from 'react';
import type uPlot from 'uplot';

import { type GrafanaTheme2, type TimeRange } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, type VizLayoutLegendProps, VizLayout } from '@grafana/ui';

export interface Painting {
  width: number;
  height: number;
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  /** The y scale goes from 0 to this. */
  rows: number;
  /** Where the y axis has ticks, and what it says there. */
  ticks: (height: number) => number[];
  label: (tick: number) => string;
  yAxis?: { size?: number; label?: string; placement?: AxisPlacement };
  paint: (u: uPlot) => void;
  /** More that draws, after ``paint``. */
  more?: (builder: UPlotConfigBuilder) => void;
  legend?: ReactElement<VizLayoutLegendProps> | null;
}

export function Painted(props: Painting): ReactElement {
  const config = useMemo(() => built(props), [props]);
  const { from, to } = props.timeRange;
  const data: uPlot.AlignedData = [[from.valueOf(), to.valueOf()], [null, null]];
  return (
    <VizLayout width={props.width} height={props.height} legend={props.legend ?? null}>
      {(width, height) => <UPlotChart config={config} data={data} width={width} height={height} />}
    </VizLayout>
  );
}

function built({ timeRange, theme, rows, ticks, label, yAxis, paint, more }: Painting): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder('utc');
  builder.addScale({
    scaleKey: 'x', isTime: true, orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right,
    range: () => [timeRange.from.valueOf(), timeRange.to.valueOf()],
  });
  builder.addScale({
    scaleKey: 'y', isTime: false, orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up,
    range: () => [0, rows],
  });
  builder.addAxis({
    scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme, grid: { show: false },
  });
  if (yAxis?.placement !== AxisPlacement.Hidden) {
    builder.addAxis({
      scaleKey: 'y', placement: yAxis?.placement ?? AxisPlacement.Left, theme, grid: { show: false }, ticks: { show: false },
      ...(yAxis?.size ? { size: yAxis.size } : {}), ...(yAxis?.label ? { label: yAxis.label } : {}),
      splits: ((u: uPlot) => ticks(u.bbox.height / window.devicePixelRatio)) as never,
      values: ((_: uPlot, splits: number[]) => splits.map(label)) as never,
    });
  }
  builder.addSeries({ scaleKey: 'y', pathBuilder: () => null, pointsBuilder: () => null, theme } as never);
  builder.addHook('draw', (u) => {
    u.ctx.save();
    paint(u);
    u.ctx.restore();
  });
  more?.(builder);
  builder.setPrepData(() => [[], []]);
  return builder;
}
