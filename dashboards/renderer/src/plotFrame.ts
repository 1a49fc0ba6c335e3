/** The series of a chart as Grafana's own panel makes them; the one of @grafana/ui is older and finds fewer gaps. */
import {
  applyNullInsertThreshold, type DataFrame, type Field, type FieldMatcher, FieldType, nullToValue, outerJoinDataFrames,
  type TimeRange,
} from '@grafana/data';

// What becomes of the nulls of one series where others have samples: taken out, left alone, spread.
const [REMOVE, RETAIN, EXPAND] = [0, 1, 2] as const;

const isBar = (field: Field): boolean => field.type === FieldType.number
  && field.config.custom?.drawStyle === 'bars' && !field.config.custom?.hideFrom?.viz;

/** Numbers only; a null for every step without a sample, and for what is no finite number. */
export function graphable(frames: DataFrame[], { from, to }: TimeRange): DataFrame[] {
  return frames
    .filter((frame) => frame.length > 0 && [FieldType.time, FieldType.number].every((wanted) =>
      frame.fields.some(({ type }) => type === wanted)))
    .map((frame) => {
      const full = nullToValue(applyNullInsertThreshold({
        frame, refFieldPseudoMin: from.valueOf(), refFieldPseudoMax: to.valueOf(),
      }));
      const fields = full.fields.filter(({ type }) => type === FieldType.time || type === FieldType.number);
      return { ...full, fields: fields.map((field) => field.type === FieldType.time ? field : finite(field)) };
    });
}

function finite(field: Field): Field {
  return { ...field, values: field.values.map((value) => Number.isFinite(value) ? value : null) };
}

/** All series on one time axis. */
export function joined(frames: DataFrame[], { x, y }: { x: FieldMatcher; y: FieldMatcher }): DataFrame | null {
  return outerJoinDataFrames({
    frames, joinBy: x, keep: y, keepOriginIndices: true, keepDisplayNames: true,
    nullMode: (field) => {
      const span = field.config.custom?.spanNulls;
      return span === true && !isBar(field) ? REMOVE : span === -1 || isBar(field) ? RETAIN : EXPAND;
    },
  }) ?? null;
}
