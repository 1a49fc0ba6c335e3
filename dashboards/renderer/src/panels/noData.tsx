import { type CSSProperties, type ReactElement } from 'react';

import { type PanelProps } from './props';

/** What a panel says that has nothing to draw. */
export function NoData({ fieldConfig, variables, theme, height }: PanelProps): ReactElement {
  const style: CSSProperties = {
    display: 'flex', alignItems: 'center', justifyContent: 'center', height, textAlign: 'center',
    color: theme.colors.text.secondary, fontSize: theme.typography.size.lg,
  };
  const text = fieldConfig.defaults.noValue;
  return <div style={style}>{text ? variables.text(text) : 'No data'}</div>;
}
