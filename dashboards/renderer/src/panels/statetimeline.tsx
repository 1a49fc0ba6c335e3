/** Grafana's state timeline is in its server, not in @grafana/ui: painted here as it paints it. */
import { type ReactElement } from 'react';
import tinycolor from 'tinycolor2';

import {
  type Field, FieldType, formattedValueToString, getFieldDisplayName, getValueFormat,
  type GrafanaTheme2, ThresholdsMode,
} from '@grafana/data';
import { measureText, type VizLegendItem, VizLayout, type VizLayoutLegendProps, VizLegend } from '@grafana/ui';

import { NoData } from './noData';
import { Painted } from './painted';
import { type PanelProps } from './props';

interface State {
  from: number;
  to: number;
  text: string;
  color: string;
}

interface Row {
  name: string;
  states: State[];
}

type Shown = (value: unknown) => { text: string; color: string };

function rowsOf({ frames, options, timeRange, theme }: PanelProps): Row[] {
  const merge = options['mergeValues'] !== false;
  return frames.flatMap((frame) => {
    const time = frame.fields.find(({ type }) => type === FieldType.time);
    return !time || !frame.length ? [] : frame.fields.filter((field) => field !== time).map((field) => ({
      name: getFieldDisplayName(field, frame, frames),
      states: statesOf(field, time, timeRange.to.valueOf(), merge, merge && byThreshold(field) ? ranges(field, theme) : shown(field)),
    }));
  });
}

const byThreshold = (field: Field): boolean =>
  field.type === FieldType.number && field.config.color?.mode === 'thresholds' && Boolean(field.config.thresholds?.steps.length);

const shown = (field: Field): Shown => (value) => {
  const display = field.display?.(value);
  return { text: display ? formattedValueToString(display) : String(value), color: display?.color ?? 'grey' };
};

/** Values of one range between thresholds are one state, which is called after the range. */
function ranges(field: Field, theme: GrafanaTheme2): Shown {
  const { steps, mode } = field.config.thresholds ?? { steps: [], mode: ThresholdsMode.Absolute };
  const format = getValueFormat(mode === ThresholdsMode.Percentage ? 'percent' : field.config.unit ?? '');
  const text = (value: number): string => formattedValueToString(format(value, field.config.decimals));
  const named = steps.map(({ value, color }, i) => ({
    from: value, color: theme.visualization.getColorByName(color),
    text: i === 0 && steps[1] ? `< ${text(steps[1].value)}` : `${text(value)}+`,
  }));
  return (value) => named.filter(({ from }) => Number(value) >= from).at(-1) ?? named[0] ?? { text: '', color: 'grey' };
}

function statesOf(field: Field, time: Field, until: number, merge: boolean, show: Shown): State[] {
  const states: State[] = [];
  const step = time.config.interval ?? Infinity;
  time.values.forEach((at: number, i: number) => {
    const value = field.values[i];
    if (value === undefined || value === null || Number.isNaN(value)) {
      return;
    }
    const next: number = time.values[i + 1] ?? until;
    // Where a sample is missing the state is over, and not held until there is one.
    const to = next - at > step ? at + 1 : next;
    const { text, color } = show(value);
    const last = states.at(-1);
    if (merge && last && last.to >= at && last.text === text && last.color === color) {
      last.to = to;
    } else {
      states.push({ from: at, to, text, color });
    }
  });
  return states;
}

export function StateTimelinePanel(props: PanelProps): ReactElement {
  const { options, fieldConfig, theme } = props;
  const rows = rowsOf(props);
  if (!rows.length) {
    return <NoData {...props} />;
  }
  const { fillOpacity = 70, lineWidth = 0 } = fieldConfig.defaults.custom ?? {};
  const showValue = options['showValue'] ?? 'auto';
  const widest = Math.max(...rows.map(({ name }) => measureText(name, 12).width));
  return (
    <Painted
      {...props} rows={rows.length} yAxis={{ size: Math.min(widest + 18, props.width * 0.4) }}
      ticks={() => rows.map((_, i) => rows.length - i - 0.5)} label={(tick) => rows[Math.round(rows.length - tick - 0.5)]?.name ?? ''}
      paint={(u) => rows.forEach(({ states }, row) => {
        const { ctx, bbox } = u;
        const [top, bottom] = [u.valToPos(rows.length - row, 'y', true), u.valToPos(rows.length - row - 1, 'y', true)];
        const height = (bottom - top) * (options['rowHeight'] ?? 0.9);
        const y = top + (bottom - top - height) / 2;
        for (const { from, to, text, color } of states) {
          const x0 = Math.max(bbox.left, u.valToPos(from, 'x', true));
          const x1 = Math.min(bbox.left + bbox.width, u.valToPos(to, 'x', true));
          if (x1 <= x0) {
            continue;
          }
          ctx.fillStyle = tinycolor(color).setAlpha(fillOpacity / 100).toRgbString();
          ctx.fillRect(x0, y, x1 - x0, height);
          if (lineWidth) {
            ctx.strokeStyle = color;
            ctx.lineWidth = lineWidth * window.devicePixelRatio;
            ctx.strokeRect(x0, y, x1 - x0, height);
          }
          ctx.font = `${12 * window.devicePixelRatio}px ${theme.typography.fontFamily}`;
          if (showValue !== 'never' && (showValue === 'always' || ctx.measureText(text).width + 8 < x1 - x0)) {
            ctx.fillStyle = theme.colors.getContrastText(tinycolor.mix(theme.colors.background.primary, color, fillOpacity).toHexString(), 3);
            ctx.textBaseline = 'middle';
            ctx.fillText(text, x0 + 4 * window.devicePixelRatio, y + height / 2);
          }
        }
      })}
      legend={legend(props, rows)}
    />
  );
}

function legend({ options }: PanelProps, rows: Row[]): ReactElement<VizLayoutLegendProps> | null {
  const { showLegend = true, placement = 'bottom', displayMode = 'list' } = options['legend'] ?? {};
  const states = new Map(rows.flatMap(({ states: all }) => all.map(({ text, color }) => [text, color])));
  const items: VizLegendItem[] = [...states].map(([label, color]) => ({ label, color, yAxis: 1 }));
  return showLegend && items.length <= 12
    ? <VizLayout.Legend placement={placement}><VizLegend placement={placement} items={items} displayMode={displayMode} /></VizLayout.Legend>
    : null;
}
