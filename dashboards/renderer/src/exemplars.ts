/** Exemplars as diamonds, over time series and heatmaps. */
import { type GrafanaTheme2 } from '@grafana/data';
import { type UPlotConfigBuilder } from '@grafana/ui';

import { type Exemplar } from './prometheus';

const SIZE = 4;

/** ``place`` gives the place on the y scale of a value; none where there is none. */
export function diamonds(
  builder: UPlotConfigBuilder, exemplars: Exemplar[], theme: GrafanaTheme2, color?: string,
  place: (value: number) => number | undefined = (value) => value,
): void {
  if (!exemplars.length) {
    return;
  }
  builder.addHook('draw', (u) => {
    const { ctx, bbox } = u;
    const scale = u.series[1]?.scale ?? 'y';
    const size = SIZE * window.devicePixelRatio;
    ctx.save();
    ctx.fillStyle = color ?? theme.visualization.getColorByName('blue');
    for (const { time, value } of exemplars) {
      const at = place(value);
      const x = u.valToPos(time, 'x', true);
      if (at === undefined || x < bbox.left || x > bbox.left + bbox.width) {
        continue;
      }
      // What is off the scale is shown at its edge.
      const y = Math.max(bbox.top, Math.min(bbox.top + bbox.height, u.valToPos(at, scale, true)));
      ctx.beginPath();
      ctx.moveTo(x, y - size);
      ctx.lineTo(x + size, y);
      ctx.lineTo(x, y + size);
      ctx.lineTo(x - size, y);
      ctx.fill();
    }
    ctx.restore();
  });
}
