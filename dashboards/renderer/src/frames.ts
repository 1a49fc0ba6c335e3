/** Data frames out of Prometheus's answers, as Grafana's data source makes them. */
import { type DataFrame, DataFrameType, type Field, FieldType } from '@grafana/data';

import { type Labels, legendText, named, type Series } from './prometheus';
import { type Target } from './request';

/** Milliseconds per step for a range query, so that gaps are gaps. */
export function seriesFrames(target: Target, series: Series[], step?: number): DataFrame[] {
  return series.map(({ metric, values }) => {
    const name = legend(target, metric);
    return frame(target.refId, [
      field('Time', FieldType.time, values.map(([at]) => at * 1000), step ? { interval: step } : {}),
      {
        ...field('Value', FieldType.number, values.map(([, value]) => number(value)),
          name ? { displayNameFromDS: name } : {}),
        labels: metric,
      },
    ], name || named(metric));
  });
}

/** The name that the data source gives; none where Grafana finds one out from the labels that differ. */
function legend(target: Target, metric: Labels): string {
  const labels = Object.keys(metric).filter((name) => name !== '__name__');
  let name = named(metric);
  if (target.legendFormat === '__auto') {
    name = labels.length ? '' : name;
  } else if (target.legendFormat) {
    name = legendText(target.legendFormat, metric);
  }
  return name === '{}' ? target.expr ?? '' : name;
}

/** One table for all series of a target: its time, a column per label, the value. */
export function tableFrame(target: Target, series: Series[], tables: number): DataFrame {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const rows = series.flatMap(({ metric, values }) => values.map(([at, value]) => ({ metric, at, value })));
  return frame(target.refId, [
    field('Time', FieldType.time, rows.map(({ at }) => at * 1000)),
    ...labels.map((label) => label === 'le'
      ? field(label, FieldType.number, rows.map(({ metric }) => number(metric[label] ?? '')), { filterable: true })
      : field(label, FieldType.string, rows.map(({ metric }) => metric[label] ?? ''), { filterable: true })),
    field(tables > 1 ? `Value #${target.refId}` : 'Value', FieldType.number, rows.map(({ value }) => number(value))),
  ]);
}

/** Buckets that count up to their `le` as rows that count between two of them. */
export function heatmapFrames(target: Target, series: Series[], step: number): DataFrame[] {
  const buckets = series
    .filter(({ metric }) => metric['le'] !== undefined)
    .sort((a, b) => number(a.metric['le'] ?? '') - number(b.metric['le'] ?? ''));
  if (buckets.length === 0) {
    return [];
  }
  const times = [...new Set(buckets.flatMap(({ values }) => values.map(([at]) => at)))].sort((a, b) => a - b);
  let below = times.map(() => 0);
  const fields = buckets.map(({ metric, values }) => {
    const known = new Map(values.map(([at, value]) => [at, number(value)]));
    const upTo = times.map((at) => known.get(at) ?? NaN);
    const counts = upTo.map((value, i) => Math.max(0, value - (below[i] ?? 0)));
    below = upTo;
    return { ...field(metric['le'] ?? '', FieldType.number, counts), labels: metric };
  });
  const made = frame(target.refId, [
    field('Time', FieldType.time, times.map((at) => at * 1000), { interval: step * 1000 }), ...fields,
  ]);
  return [{ ...made, meta: { type: DataFrameType.HeatmapRows } }];
}

function number(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

function field(name: string, type: FieldType, values: unknown[], config: object = {}): Field {
  return { name, type, values, config: { ...config } };
}

function frame(refId: string, fields: Field[], name?: string): DataFrame {
  return { refId, fields, length: fields[0]?.values.length ?? 0, ...(name ? { name } : {}) };
}
