/** Grafana's heatmap is in its server, not in @grafana/ui: rows of buckets with `le`, painted as it paints them. */
import { type ReactElement } from 'react';
import * as chromatic from 'd3-scale-chromatic';
import tinycolor from 'tinycolor2';

import { type Field, FieldType, formattedValueToString, getValueFormat, type GrafanaTheme2 } from '@grafana/data';
import { VizLayout, type VizLayoutLegendProps } from '@grafana/ui';

import { overlay } from '../annotations';
import { diamonds } from '../exemplars';
import { problem } from '../problems';
import { NoData } from './noData';
import { Painted } from './painted';
import { type PanelProps } from './props';

// Which palettes Grafana turns round, and when.
const INVERTED: Record<string, 'always' | 'dark' | 'light'> = {
  Turbo: 'light', Cividis: 'light', Viridis: 'light', Magma: 'light', Inferno: 'light', Plasma: 'light',
  Warm: 'light', Cool: 'light', Cubehelix: 'light',
  ...Object.fromEntries([
    'BrBG', 'PiYG', 'PRGn', 'PuOr', 'RdBu', 'RdGy', 'RdYlBu', 'RdYlGn', 'Spectral', 'Rainbow', 'Sinebow',
  ].map((name) => [name, 'always'])),
  ...Object.fromEntries([
    'Blues', 'Greens', 'Greys', 'Oranges', 'Purples', 'Reds', 'BuGn', 'BuPu', 'GnBu', 'OrRd', 'PuBuGn', 'PuBu', 'PuRd',
    'RdPu', 'YlGnBu', 'YlGn', 'YlOrBr', 'YlOrRd',
  ].map((name) => [name, 'dark'])),
};

function palette(color: Record<string, any>, theme: GrafanaTheme2, title: string): string[] {
  const steps: number = color['steps'] ?? 64;
  if (color['mode'] === 'opacity') {
    const fill = tinycolor(theme.visualization.getColorByName(color['fill'] ?? 'dark-orange'));
    const exponent = color['scale'] === 'linear' ? 1 : color['exponent'] ?? 0.5;
    return Array.from({ length: steps }, (_, i) => fill.setAlpha((i / (steps - 1)) ** exponent).toRgbString());
  }
  const scheme: string = color['scheme'] ?? 'Oranges';
  const interpolate = (chromatic as unknown as Record<string, (at: number) => string>)[
    `interpolate${scheme === 'Cubehelix' ? 'CubehelixDefault' : scheme}`
  ];
  if (!interpolate) {
    problem(`panel "${title}": no colour scheme "${scheme}"`);
    return ['red'];
  }
  const colors = Array.from({ length: steps }, (_, i) => interpolate(steps > 1 ? i / (steps - 1) : 1));
  const inverted = INVERTED[scheme] === 'always' || INVERTED[scheme] === (theme.isDark ? 'dark' : 'light');
  return inverted !== Boolean(color['reverse']) ? colors.reverse() : colors;
}

interface Cells {
  times: number[];
  step: number;
  rows: Field[];
  min: number;
  max: number;
  hidden: (value: number) => boolean;
}

function cells({ frames, options }: PanelProps): Cells | undefined {
  const frame = frames.find(({ fields }) => fields.some(({ type }) => type === FieldType.time));
  const time = frame?.fields.find(({ type }) => type === FieldType.time);
  const rows = frame?.fields.filter(({ type }) => type === FieldType.number) ?? [];
  if (!time || !rows.length || !time.values.length) {
    return undefined;
  }
  const { le = 1e-9, ge = Infinity } = options['filterValues'] ?? {};
  const hidden = (value: number): boolean => !Number.isFinite(value) || value <= (le ?? -Infinity) || value >= (ge ?? Infinity);
  const seen = rows.flatMap(({ values }) => values as number[]).filter((value) => !hidden(value));
  const least = Math.min(...seen);
  return {
    times: time.values, step: time.config.interval ?? 15_000, rows, hidden,
    min: options['color']?.min ?? least, max: options['color']?.max ?? Math.max(...seen, least),
  };
}

export function HeatmapPanel(props: PanelProps): ReactElement {
  const { panel, options, theme } = props;
  const title = panel.title ?? '';
  const data = cells(props);
  if (options['calculate']) {
    problem(`panel "${title}": a heatmap that is calculated from series cannot be drawn`);
  }
  if (!data) {
    return <NoData {...props} />;
  }
  const { times, step, rows, min, max, hidden } = data;
  if (new Set(rows.map(({ name }) => name)).size < rows.length) {
    problem(`panel "${title}": several series with one le`);
  }
  const yAxis = options['yAxis'] ?? {};
  // Without a unit the buckets are called what Prometheus calls them.
  const formats = Boolean(yAxis.unit) || typeof yAxis.decimals === 'number';
  const format = getValueFormat(yAxis.unit ?? 'short');
  const text = (value: number): string => formattedValueToString(format(value, yAxis.decimals));
  const named = rows.map(({ name }) => !formats || Number.isNaN(Number(name)) ? name : text(Number(name)));
  const colors = palette(options['color'] ?? {}, theme, title);
  const gap = (options['cellGap'] ?? 1) * window.devicePixelRatio;
  const colorOf = (value: number): string => {
    const at = Math.floor(((value - min) / (max - min || 1)) * colors.length);
    return colors[Math.max(0, Math.min(colors.length - 1, at))] ?? 'transparent';
  };
  const place = (value: number): number | undefined => {
    const row = rows.findIndex(({ name }) => value <= (name === '+Inf' ? Infinity : Number(name)));
    return row < 0 ? undefined : row + 0.5;
  };
  return (
    <Painted
      {...props} rows={rows.length} yAxis={{ size: yAxis.axisWidth, label: yAxis.axisLabel, placement: yAxis.axisPlacement }}
      ticks={(height) => thinned(Array.from({ length: rows.length + 1 }, (_, i) => i), height)}
      label={(tick) => tick === 0 ? formats ? text(0) : '0.0' : named[tick - 1] ?? ''}
      paint={(u) => rows.forEach(({ values }, row) => {
        const y = u.valToPos(row + 1, 'y', true);
        const height = u.valToPos(row, 'y', true) - y - gap;
        times.forEach((time, i) => {
          const value = values[i];
          // A sample tells of the step that ends with it.
          const x0 = Math.max(u.bbox.left, u.valToPos(time - step, 'x', true));
          const x1 = Math.min(u.bbox.left + u.bbox.width, u.valToPos(time, 'x', true));
          if (!hidden(value) && x1 > x0) {
            u.ctx.fillStyle = colorOf(value);
            u.ctx.fillRect(Math.round(x0), Math.round(y), Math.max(1, Math.round(x1) - Math.round(x0) - gap), Math.max(1, Math.round(height)));
          }
        });
      })}
      more={(builder) => {
        overlay(builder, props.happenings.filter((one) => one.panels(panel.id)), theme);
        diamonds(builder, props.exemplars, theme, options['exemplars']?.color, place);
      }}
      legend={options['legend']?.show === false ? null : scale(colors, [min, max], options['cellValues']?.unit, theme)}
    />
  );
}

/** Fewer ticks where they would run into each other. */
function thinned(ticks: number[], height: number): number[] {
  if (height < 60) {
    return [ticks[0] ?? 0, ticks.at(-1) ?? 0];
  }
  let shown = ticks;
  while (shown.length > 3 && (height - 15) / shown.length < 10) {
    shown = shown.filter((_, i) => i % 2 === 0);
  }
  return shown;
}

function scale(colors: string[], [min, max]: [number, number], unit: string | undefined, theme: GrafanaTheme2): ReactElement<VizLayoutLegendProps> {
  const format = getValueFormat(unit ?? 'short');
  const text = (value: number): string => Number.isFinite(value) ? formattedValueToString(format(value)) : '';
  return (
    <VizLayout.Legend placement="bottom" maxHeight="20%">
      <div style={{ width: 300, padding: '0 8px 4px', fontSize: theme.typography.size.sm, color: theme.colors.text.primary }}>
        <div style={{ height: 7, borderRadius: 2, background: `linear-gradient(90deg, ${colors.join(', ')})` }} />
        <div style={{ display: 'flex', justifyContent: 'space-between' }}><span>{text(min)}</span><span>{text(max)}</span></div>
      </div>
    </VizLayout.Legend>
  );
}
