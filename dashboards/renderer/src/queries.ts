/** Asks what a panel asks: the step, what stands for $__interval, and the frames. */
import { groupBy } from 'lodash';

import { type DataFrame, rangeUtil, toDataFrame } from '@grafana/data';

import { heatmapFrames, seriesFrames, tableFrame } from './frames';
import { type Exemplar, queryExemplars, queryInstant, queryRange } from './prometheus';
import { problem } from './problems';
import { type SentQuery, type Panel, type RenderRequest, type Target } from './request';
import { type Variables } from './variables';

// Where a panel says nothing else, and never more: Prometheus refuses more than 11,000 points.
const MOST_POINTS = 11_000;

export interface PanelAnswer {
  frames: DataFrame[];
  exemplars: Exemplar[];
  sent: SentQuery[];
  variables: Variables;
}

const seconds = (text: string): number => rangeUtil.intervalToSeconds(text.replace(/^>=?\s*/, ''));

/** Width in pixels: a panel asks for a point per pixel. */
export async function ask(
  panel: Panel, width: number, request: RenderRequest, variables: Variables
): Promise<PanelAnswer> {
  const known = (target?: Target): Known => withIntervals(panel, target, width, request, variables);
  const targets = (panel.targets ?? []).filter((target) => !target.hide && target.expr);
  const tables = targets.filter(({ format }) => format === 'table').length;
  const answers = await Promise.all(targets.map((target) => one(panel, target, tables, request, known(target))));
  return {
    frames: answers.flatMap(({ frames }) => frames).map((frame) => toDataFrame(frame)),
    exemplars: answers.flatMap(({ exemplars }) => exemplars),
    sent: answers.map(({ sent }) => sent),
    variables: known().variables,
  };
}

interface Known {
  variables: Variables;
  step: number;
}

/** A query's own least step stands for the scrapes' interval, also in $__rate_interval. */
function withIntervals(
  panel: Panel, target: Target | undefined, width: number, request: RenderRequest, variables: Variables
): Known {
  const { from, to } = request;
  const own = target?.interval && !target.interval.includes('$') ? seconds(target.interval) : undefined;
  const scrape = own ?? request.scrapeInterval;
  const least = own ?? (panel.interval ? Math.max(0.001, seconds(variables.text(panel.interval))) : scrape);
  const points = panel.maxDataPoints ?? Math.floor(width);
  const rounded = rangeUtil.roundInterval((to - from) / points) / 1000;
  const interval = Math.max(rounded, least, (to - from) / 1000 / MOST_POINTS);
  const rate = Math.max(interval + scrape, 4 * scrape);
  const range = Math.round((to - from) / 1000);
  return {
    step: interval * (target?.intervalFactor ?? 1),
    variables: variables.with({
      __interval: duration(interval), __interval_ms: String(interval * 1000),
      __rate_interval: duration(rate), __rate_interval_ms: String(rate * 1000),
      __range: `${range}s`, __range_s: String(range), __range_ms: String(to - from),
    }),
  };
}

const duration = (length: number): string => Number.isInteger(length) ? `${length}s` : `${Math.round(length * 1000)}ms`;

async function one(
  panel: Panel, target: Target, tables: number, request: RenderRequest, { step: every, variables }: Known
): Promise<{ frames: DataFrame[]; exemplars: Exemplar[]; sent: SentQuery }> {
  const { from, to } = request;
  const expr = variables.text(target.expr ?? '', {}, 'promql');
  const sent: SentQuery = { panel: panel.id, title: panel.title ?? '', refId: target.refId, expr, series: 0 };
  const frames: DataFrame[] = [];
  let exemplars: Exemplar[] = [];
  try {
    if (target.instant) {
      const series = await queryInstant(expr, to);
      sent.series += series.length;
      if (target.format === 'table') {
        frames.push(tableFrame(target, series, tables));
      } else {
        frames.push(...seriesFrames(target, series));
      }
    }
    if (target.range || !target.instant) {
      const series = await queryRange(expr, from, to, every);
      sent.series += series.length;
      if (target.format === 'heatmap') {
        frames.push(...heatmapFrames(target, series, every));
      } else if (target.format === 'table') {
        frames.push(tableFrame(target, series, tables));
      } else {
        frames.push(...seriesFrames(target, series, every * 1000));
      }
    }
    if (target.exemplar && !target.instant) {
      exemplars = sampled(await queryExemplars(expr, from, to), every * 1000);
    }
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    problem(`panel "${panel.title}", query ${target.refId}: ${text}: ${expr}`);
    throw new Error(`query ${target.refId}: ${text}`);
  }
  return { frames, exemplars, sent };
}

/** As Grafana thins them out: of every step the highest, and those that lie two standard deviations below the last one. */
function sampled(all: Exemplar[], step: number): Exemplar[] {
  const mean = all.reduce((sum, { value }) => sum + value, 0) / all.length;
  const deviation = Math.sqrt(all.reduce((sum, { value }) => sum + (value - mean) ** 2, 0) / Math.max(1, all.length - 1));
  const kept: Exemplar[] = [];
  for (const bucket of Object.values(groupBy(all, ({ time }) => Math.floor(time / step)))) {
    let last: Exemplar | undefined;
    for (const one of bucket.sort((a, b) => b.value - a.value)) {
      if (!last || (deviation > 0 && last.value - one.value >= 2 * deviation)) {
        kept.push(one);
        last = one;
      }
    }
  }
  return kept;
}
