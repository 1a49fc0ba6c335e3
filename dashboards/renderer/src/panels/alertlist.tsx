/** Alerts as Prometheus has them. Grafana's own list is in its server; this has the same lines in the same order. */
import { type CSSProperties, type ReactElement } from 'react';

import { dateTimeFormatTimeAgo } from '@grafana/data';
import { Icon } from '@grafana/ui';

import { type Alert, type Labels } from '../prometheus';
import { NoData } from './noData';
import { type PanelProps } from './props';

/** Matchers as in {severity="page",kind=~"a|b"}. */
function matcher(text: string): (labels: Labels) => boolean {
  const tests = [...text.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].map(([, name = '', how, value = '']) => {
    const whole = new RegExp(`^(?:${value})$`);
    return (labels: Labels): boolean => {
      const said = labels[name] ?? '';
      return how === '=' ? said === value : how === '!=' ? said !== value : whole.test(said) === (how === '=~');
    };
  });
  return (labels) => tests.every((test) => test(labels));
}

export function AlertListPanel(props: PanelProps): ReactElement {
  const { options, variables, theme, height, timeRange } = props;
  const wanted = matcher(variables.text(String(options['alertInstanceLabelFilter'] ?? ''), {}, 'promql'));
  const name = variables.text(String(options['alertName'] ?? '')).toLowerCase();
  const state = options['stateFilter'] ?? {};
  const shown = props.alerts
    .filter((one) => one.state === 'firing' ? state.firing !== false : state.pending !== false)
    .filter((one) => one.name.toLowerCase().includes(name) && wanted(one.labels))
    .sort((a, b) => Number(b.state === 'firing') - Number(a.state === 'firing') || a.name.localeCompare(b.name));
  if (!shown.length) {
    return <NoData {...props} fieldConfig={{ defaults: { noValue: 'No alerts matching filters' }, overrides: [] }} />;
  }
  const line: CSSProperties = {
    display: 'flex', gap: 8, alignItems: 'center', padding: '4px 8px', marginBottom: 4,
    background: theme.colors.background.secondary, fontSize: theme.typography.bodySmall.fontSize,
  };
  const ago = (one: Alert): string => {
    const seconds = Math.max(0, Math.round((timeRange.to.valueOf() - one.activeAt) / 1000));
    return seconds < 120 ? `${seconds}s` : dateTimeFormatTimeAgo(one.activeAt).replace(' ago', '');
  };
  return (
    <div style={{ height, overflow: 'hidden' }}>
      {shown.slice(0, options['maxItems'] ?? 20).map((one, i) => {
        const color = one.state === 'firing' ? theme.colors.error.text : theme.colors.warning.text;
        return (
          <div key={i} style={line}>
            <span style={{ color }}><Icon name={one.state === 'firing' ? 'exclamation-circle' : 'circle'} /></span>
            <div style={{ minWidth: 0 }}>
              <div style={{ whiteSpace: 'nowrap' }}>
                {one.name}{one.labels['job'] ? <span style={{ color: theme.colors.text.secondary }}> · {one.labels['job']}</span> : null}
              </div>
              <div><span style={{ color }}>{one.state === 'firing' ? 'Firing' : 'Pending'}</span> for {ago(one)}</div>
            </div>
          </div>
        );
      })}
    </div>
  );
}
