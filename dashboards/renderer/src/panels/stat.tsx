import { type ReactElement } from 'react';

import {
  type DisplayValueAlignmentFactors, FieldColorModeId, type FieldDisplay, getDisplayValueAlignmentFactors,
  getFieldDisplayValues, VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, BigValueGraphMode, BigValueTextMode, VizRepeater } from '@grafana/ui';

import { type PanelProps } from './props';

function values(props: PanelProps, sparkline: boolean): FieldDisplay[] {
  const { frames, options, fieldConfig, theme, variables } = props;
  return getFieldDisplayValues({
    data: frames, fieldConfig, theme, sparkline, timeZone: 'utc', percentChange: Boolean(options['showPercentChange']),
    reduceOptions: { calcs: ['lastNotNull'], values: false, ...options['reduceOptions'] },
    replaceVariables: (text, scoped, format) => variables.text(text, scoped, format),
  });
}

function orientation(props: PanelProps): VizOrientation {
  const said = (props.options['orientation'] ?? VizOrientation.Auto) as VizOrientation;
  return said === VizOrientation.Auto
    ? props.width > props.height ? VizOrientation.Vertical : VizOrientation.Horizontal
    : said;
}

export function StatPanel(props: PanelProps): ReactElement {
  const { options, theme, width, height, frames, timeRange } = props;
  const graphMode = (options['graphMode'] ?? BigValueGraphMode.Area) as BigValueGraphMode;
  const auto = (options['orientation'] ?? 'auto') === 'auto';
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      getValues={() => values(props, graphMode !== BigValueGraphMode.None)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, alignmentFactors, count }) => (
        <BigValue
          value={value.display} count={count} width={w} height={h} theme={theme}
          sparkline={value.sparkline && { ...value.sparkline, timeRange }}
          colorMode={options['colorMode'] ?? 'value'} graphMode={graphMode}
          justifyMode={options['justifyMode'] ?? 'auto'} text={options['text']}
          textMode={(options['textMode'] ?? BigValueTextMode.Auto) as BigValueTextMode}
          alignmentFactors={alignmentFactors} disableWideLayout={options['wideLayout'] === false}
          percentChangeColorMode={options['percentChangeColorMode']}
        />
      )}
      width={width} height={height} source={frames} itemSpacing={3} renderCounter={0}
      autoGrid={auto} orientation={orientation(props)}
    />
  );
}

export function BarGaugePanel(props: PanelProps): ReactElement {
  const { options, theme, width, height, frames } = props;
  const sized = options['sizing'] === 'manual';
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      getValues={() => values(props, false)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width: w, height: h, orientation: how, alignmentFactors, count }) => {
        const { field, display, view, colIndex } = value;
        const byField = view && colIndex !== undefined ? view.getFieldDisplayProcessor(colIndex) : undefined;
        const byValue = field.color?.mode?.startsWith('continuous') || field.color?.mode === FieldColorModeId.Thresholds;
        return (
          <BarGauge
            value={display} width={w} height={h} orientation={how} field={field} text={options['text']}
            display={byField ?? undefined} theme={theme} itemSpacing={10} lcdCellWidth={12} alignmentFactors={alignmentFactors}
            displayMode={byValue || options['displayMode'] !== 'gradient' ? options['displayMode'] ?? 'gradient' : 'basic'}
            showUnfilled={options['showUnfilled'] ?? true} valueDisplayMode={options['valueMode'] ?? 'color'}
            namePlacement={options['namePlacement'] ?? 'auto'} isOverflow={count * 16 > props.height}
          />
        );
      }}
      width={width} height={height} source={frames} renderCounter={0} itemSpacing={8}
      orientation={orientation(props) === VizOrientation.Vertical ? VizOrientation.Vertical : VizOrientation.Horizontal}
      minVizWidth={sized ? options['minVizWidth'] ?? 8 : 8} minVizHeight={sized ? options['minVizHeight'] ?? 16 : 16}
      maxVizHeight={options['maxVizHeight'] ?? 300}
    />
  );
}
