import { type ReactElement } from 'react';

import { type TableCellHeight } from '@grafana/schema';
import { TableNG } from '@grafana/ui/unstable';

import { problem } from '../problems';
import { NoData } from './noData';
import { type PanelProps } from './props';

export function TablePanel(props: PanelProps): ReactElement {
  const { panel, frames, options, fieldConfig, timeRange, width, height } = props;
  const frame = frames[options['frameIndex'] ?? 0];
  if (!frame?.fields.length || !frame.length) {
    return <NoData {...props} />;
  }
  if (frames.length > 1 && options['frameIndex'] === undefined) {
    problem(`panel "${panel.title}": ${frames.length} tables, of which only the first can be seen`);
  }
  return (
    <TableNG
      data={frame} width={width} height={height} noHeader={options['showHeader'] === false} showTypeIcons={options['showTypeIcons']}
      resizable sortBy={options['sortBy']} cellHeight={(options['cellHeight'] ?? 'sm') as TableCellHeight}
      enablePagination={options['enablePagination']} timeRange={timeRange} fieldConfig={fieldConfig} structureRev={1}
      frozenColumns={options['frozenColumns']?.left ?? 0} maxRowHeight={options['maxRowHeight']}
      noValue={fieldConfig.defaults.noValue} enableVirtualization={false}
    />
  );
}
