/** "Time series to table": Grafana has it in its server, not in @grafana/data, so it is made again here. */
import { map } from 'rxjs';

import {
  type DataFrame, type DataTransformerInfo, type Field, FieldType, fieldReducers, reduceField, type ReducerID,
} from '@grafana/data';

interface Options {
  [refId: string]: { stat?: ReducerID; timeField?: string; inlineStat?: boolean };
}

export const timeSeriesTable: DataTransformerInfo<Options> = {
  id: 'timeSeriesTable',
  name: 'Time series to table',
  description: 'Every time series becomes a row with a small graph',
  defaultOptions: {},
  operator: (options) => (source) => source.pipe(map((frames) => tables(options ?? {}, frames))),
};

function tables(options: Options, frames: DataFrame[]): DataFrame[] {
  const refIds = [...new Set(frames.map(({ refId }) => refId ?? 'A'))];
  return refIds.map((refId) => table(refId, options[refId] ?? {}, frames.filter((one) => (one.refId ?? 'A') === refId)));
}

function table(refId: string, options: Options[string], frames: DataFrame[]): DataFrame {
  const series = frames.filter((frame) => frame.fields.some(({ type }) => type === FieldType.time));
  const numbers = series.flatMap((frame) =>
    frame.fields.filter(({ type }) => type === FieldType.number).map((field) => ({ frame, field })));
  const labels = [...new Set(numbers.flatMap(({ field }) => Object.keys(field.labels ?? {})))];
  const stat = options?.stat ?? ('lastNotNull' as ReducerID);
  if (!fieldReducers.getIfExists(stat)) {
    throw new Error(`timeSeriesTable: there is no calculation "${stat}"`);
  }
  const columns: Field[] = labels.map((label) => ({
    name: label, type: FieldType.string, config: {}, values: numbers.map(({ field }) => field.labels?.[label] ?? ''),
  }));
  const trends = numbers.map(({ frame, field }) => {
    const time = frame.fields.find(({ type }) => type === FieldType.time) as Field;
    const value = reduceField({ field, reducers: [stat] })[stat] ?? null;
    return { ...frame, fields: [time, field], value };
  });
  columns.push({ name: refIds(refId), type: FieldType.frame, config: {}, values: trends });
  return { refId, fields: columns, length: trends.length };
}

const refIds = (refId: string): string => `Trend #${refId}`;
