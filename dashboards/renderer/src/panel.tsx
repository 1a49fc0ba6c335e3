/** One panel: queried, transformed, configured, and in Grafana's frame. */
import { Component, type ReactElement, type ReactNode } from 'react';

import { getValueFormats, type GrafanaTheme2, type TimeRange } from '@grafana/data';
import { PanelChrome } from '@grafana/ui';

import { type Happening } from './annotations';
import { configured } from './fieldConfig';
import { PANELS } from './panels';
import { type Alert } from './prometheus';
import { problem, told } from './problems';
import { ask } from './queries';
import { type SentQuery, type Panel, type RenderRequest } from './request';
import { transformed } from './transformations';
import { type Variables } from './variables';

export interface Surroundings {
  request: RenderRequest;
  variables: Variables;
  happenings: Happening[];
  alerts: Alert[];
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  sent: SentQuery[];
}

// Units that are built from what follows the colon; the rest are in a list.
const BUILT_UNITS = /^(prefix|suffix|time|si|count|currency|bool):/;

let units: Set<string> | undefined;

function unitsOf(panel: Panel): string[] {
  const found: string[] = [];
  JSON.stringify({ field: panel.fieldConfig, options: panel.options }, (key, value) => {
    if (key === 'unit' && typeof value === 'string') {
      found.push(value);
    }
    if (value?.id === 'unit' && typeof value.value === 'string') {
      found.push(value.value);
    }
    return value;
  });
  return found;
}

function checked(panel: Panel): void {
  units ??= new Set(getValueFormats().flatMap(({ submenu }) => submenu?.map(({ value }) => String(value)) ?? []));
  for (const unit of unitsOf(panel)) {
    if (!units.has(unit) && !BUILT_UNITS.test(unit)) {
      throw new Error(`no such unit: ${unit}`);
    }
  }
  for (const option of ['repeat', 'timeFrom', 'timeShift'] as const) {
    if (panel[option]) {
      throw new Error(`"${option}" cannot be drawn`);
    }
  }
}

/** The panel as an element for its place. Never raises: what went wrong is drawn, and told. */
export async function drawn(panel: Panel, width: number, height: number, around: Surroundings): Promise<ReactElement> {
  const { variables, theme } = around;
  const title = variables.text(panel.title ?? '');
  let content: (width: number, height: number) => ReactNode;
  try {
    const Drawing = PANELS[panel.type];
    if (!Drawing) {
      throw new Error(`no panels of the type "${panel.type}" can be drawn`);
    }
    checked(panel);
    const answer = await ask(panel, width, around.request, variables);
    around.sent.push(...answer.sent);
    const frames = await transformed(panel, answer.frames, answer.variables);
    const more = configured(panel, frames, theme, answer.variables);
    content = (w, h) => (
      <Drawing {...around} {...more} panel={panel} options={panel.options ?? {}} exemplars={answer.exemplars} width={w} height={h} />
    );
  } catch (error) {
    problem(`panel "${title}": ${told(error)}`);
    content = () => <Failure text={told(error)} theme={theme} />;
  }
  return (
    <PanelChrome
      title={title} width={width} height={height} {...(panel.description ? { description: variables.text(panel.description) } : {})}
      displayMode={panel.transparent ? 'transparent' : 'default'}
      hoverHeader={!title}
    >
      {(w, h) => <Boundary title={title} theme={theme}>{content(w, h)}</Boundary>}
    </PanelChrome>
  );
}

function Failure({ text, theme }: { text: string; theme: GrafanaTheme2 }): ReactElement {
  return <div style={{ color: theme.colors.error.text, padding: 8, overflow: 'hidden' }}>{text}</div>;
}

class Boundary extends Component<{ title: string; theme: GrafanaTheme2; children: ReactNode }, { failed: string }> {
  override state = { failed: '' };

  static getDerivedStateFromError(error: unknown): { failed: string } {
    return { failed: told(error) };
  }

  override componentDidCatch(error: unknown): void {
    problem(`panel "${this.props.title}": ${told(error)}`);
  }

  override render(): ReactNode {
    return this.state.failed ? <Failure text={this.state.failed} theme={this.props.theme} /> : this.props.children;
  }
}
