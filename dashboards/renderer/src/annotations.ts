/** The dashboard's annotations: queried as the Prometheus data source does, drawn over the time series. */
import { type GrafanaTheme2, rangeUtil } from '@grafana/data';
import { type UPlotConfigBuilder } from '@grafana/ui';

import { queryRange } from './prometheus';
import { problem, told } from './problems';
import { type AnnotationQuery, type SentQuery, type RenderRequest } from './request';
import { type Variables } from './variables';

export interface Happening {
  color: string;
  /** Milliseconds; ``end`` is the same as ``from`` for a moment. */
  from: number;
  end: number;
  panels: (id: number | undefined) => boolean;
}

// The data source's own.
const STEP = '60s';
const POINTS = 100;

export async function annotations(request: RenderRequest, variables: Variables, sent: SentQuery[]): Promise<Happening[]> {
  const queries = (request.dashboard.annotations?.list ?? []).filter((one) => one.enable !== false && !one.builtIn);
  return (await Promise.all(queries.map((one) => happenings(one, request, variables, sent)))).flat();
}

async function happenings(
  query: AnnotationQuery, { from, to, scrapeInterval }: RenderRequest, variables: Variables, sent: SentQuery[]
): Promise<Happening[]> {
  const text = query.expr ?? query.target?.expr;
  if (!text) {
    problem(`annotation "${query.name}": only Prometheus queries can be drawn`);
    return [];
  }
  const least = rangeUtil.intervalToSeconds(query.step || STEP);
  const step = Math.max(rangeUtil.roundInterval((to - from) / POINTS) / 1000, least);
  const known = variables.with({
    __interval: `${step}s`, __rate_interval: `${Math.max(step + scrapeInterval, 4 * scrapeInterval)}s`,
    __range: `${Math.round((to - from) / 1000)}s`,
  });
  const expr = known.text(text, {}, 'promql');
  const included = (id: number | undefined): boolean =>
    !query.filter?.ids?.length || query.filter.ids.includes(id ?? -1) !== Boolean(query.filter.exclude);
  try {
    const series = await queryRange(expr, from, to, step);
    sent.push({ panel: undefined, title: `annotation ${query.name}`, refId: 'Anno', expr, series: series.length });
    return series.flatMap(({ values }) =>
      regions(values, step).map(([start, end]) => ({
        from: start * 1000, end: end * 1000, color: query.iconColor ?? 'blue', panels: included,
      })));
  } catch (error) {
    problem(`annotation "${query.name}": ${told(error)}: ${expr}`);
    return [];
  }
}

/** From and to of values that are not 0 and follow each other step by step. */
function regions(values: Array<[number, string]>, step: number): Array<[number, number]> {
  const found: Array<[number, number]> = [];
  for (const [at, value] of values) {
    const last = found.at(-1);
    if (Number(value) === 0 || Number.isNaN(Number(value))) {
      continue;
    }
    if (last && at - last[1] <= step * 1.001) {
      last[1] = at;
    } else {
      found.push([at, at]);
    }
  }
  return found;
}

/** A dashed line for a moment, a tinted band for a while, and a mark under the graph, as in Grafana. */
export function overlay(builder: UPlotConfigBuilder, happenings: Happening[], theme: GrafanaTheme2): void {
  builder.addHook('draw', (u) => {
    const { ctx, bbox } = u;
    const ratio = window.devicePixelRatio;
    ctx.save();
    for (const { from, end, color } of happenings) {
      const paint = theme.visualization.getColorByName(color);
      const clamp = (x: number): number => Math.min(bbox.left + bbox.width, Math.max(bbox.left, x));
      const [x0, x1] = [u.valToPos(from, 'x', true), u.valToPos(end, 'x', true)];
      if (x1 < bbox.left || x0 > bbox.left + bbox.width) {
        continue;
      }
      const bottom = bbox.top + bbox.height;
      ctx.strokeStyle = ctx.fillStyle = paint;
      ctx.lineWidth = 2 * ratio;
      ctx.setLineDash([5 * ratio, 5 * ratio]);
      for (const x of x1 > x0 ? [x0, x1] : [x0]) {
        if (x === clamp(x)) {
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bottom);
          ctx.stroke();
        }
      }
      if (x1 > x0) {
        ctx.globalAlpha = 0.1;
        ctx.fillRect(clamp(x0), bbox.top, clamp(x1) - clamp(x0), bbox.height);
        ctx.globalAlpha = 1;
        ctx.fillRect(clamp(x0), bottom, clamp(x1) - clamp(x0), 5 * ratio);
      } else {
        ctx.beginPath();
        ctx.moveTo(x0, bottom);
        ctx.lineTo(x0 - 5 * ratio, bottom + 5 * ratio);
        ctx.lineTo(x0 + 5 * ratio, bottom + 5 * ratio);
        ctx.fill();
      }
    }
    ctx.restore();
  });
}
