/** Over the panels: title, links, time range, variables. */
import { type CSSProperties, type ReactElement } from 'react';

import { dateTimeFormat, type GrafanaTheme2 } from '@grafana/data';
import { Icon } from '@grafana/ui';

import { type RenderRequest } from './request';
import { type Variables } from './variables';

// As many values as a variable's field shows before it says how many more there are.
const SHOWN = 3;

export function Header({ request, variables, theme }: { request: RenderRequest; variables: Variables; theme: GrafanaTheme2 }): ReactElement {
  const { dashboard, from, to } = request;
  const when = (time: number): string => dateTimeFormat(time, { timeZone: 'utc' });
  const box: CSSProperties = {
    display: 'flex', alignItems: 'center', gap: 6, height: 32, padding: '0 8px', borderRadius: theme.shape.radius.default,
    border: `1px solid ${theme.components.input.borderColor}`, background: theme.components.input.background,
    color: theme.components.input.text, fontSize: theme.typography.body.fontSize, whiteSpace: 'nowrap',
  };
  const label: CSSProperties = { ...box, background: theme.colors.background.secondary, fontSize: theme.typography.size.sm, fontWeight: 500 };
  const row: CSSProperties = { display: 'flex', flexWrap: 'wrap', gap: 8, alignItems: 'center' };
  return (
    <div style={{ padding: '12px 16px 8px', display: 'flex', flexDirection: 'column', gap: 8 }}>
      <div style={{ ...row, justifyContent: 'space-between' }}>
        <div style={{ fontSize: theme.typography.h4.fontSize, fontWeight: 500 }}>{dashboard.title}</div>
        <div style={row}>
          {(dashboard.links ?? []).map(({ title }, i) => <div key={i} style={box}><Icon name="external-link-alt" />{title}</div>)}
          <div style={box}><Icon name="clock-nine" />{when(from)} to {when(to)} <span style={{ color: theme.colors.warning.text }}>UTC</span></div>
        </div>
      </div>
      <div style={row}>
        {variables.list.filter(({ model }) => model.hide !== 2).map(({ model, values, all }) => (
          <div key={model.name} style={{ display: 'flex' }}>
            {model.hide === 1 ? null : <div style={label}>{model.label || model.name}</div>}
            <div style={box}>
              {all ? 'All' : values.slice(0, SHOWN).join(', ') + (values.length > SHOWN ? `, +${values.length - SHOWN}` : '')}
              <Icon name="angle-down" />
            </div>
          </div>
        ))}
      </div>
    </div>
  );
}
