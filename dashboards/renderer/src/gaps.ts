/** Where a series has no sample for a step, there is nothing: Grafana's panel puts a null there, and so do we. */
import { type DataFrame, FieldType } from '@grafana/data';

/** Times in milliseconds. Frames that do not know their step stay as they are. */
export function withGaps(frame: DataFrame, from: number, to: number): DataFrame {
  const time = frame.fields.find(({ type }) => type === FieldType.time);
  const said = frame.fields.find(({ config }) => typeof config.custom?.insertNulls === 'number');
  const step: number = said?.config.custom.insertNulls ?? time?.config.interval ?? 0;
  if (!time || step <= 0 || !time.values.length) {
    return frame;
  }
  const slots: Array<{ at: number; index?: number }> = [];
  const first: number = time.values[0];
  let before = first - Math.ceil((first - from) / step) * step - step;
  const fill = (until: number): void => {
    while (until - before > step) {
      before += step;
      slots.push({ at: before });
    }
  };
  time.values.forEach((at: number, index: number) => {
    fill(at);
    slots.push({ at, index });
    before = at;
  });
  fill(to);
  return {
    ...frame,
    length: slots.length,
    // With this state the chart does not look for gaps again: it would, but only in the first series.
    fields: frame.fields.map((field) => field === time
      ? { ...field, values: slots.map(({ at }) => at), state: { ...field.state, nullThresholdApplied: true } }
      : { ...field, values: slots.map(({ index }) => index === undefined ? null : field.values[index]) }),
  };
}
