/** The page: draws the dashboard that it was handed, and says so when everything is there. */

import { type CSSProperties, type ReactElement } from 'react';
import { createRoot } from 'react-dom/client';

import { createTheme, dateTime, ThemeContext, type TimeRange } from '@grafana/data';
import { GlobalStyles, PortalContainer } from '@grafana/ui';

import { annotations } from './annotations';
import { registerFieldConfig } from './fieldConfig';
import { Header } from './header';
import { drawn, type Surroundings } from './panel';
import { alerts } from './prometheus';
import { problem, problems, told } from './problems';
import { type SentQuery, type Panel, type RenderRequest } from './request';
import { registerTransformations } from './transformations';
import { Variables } from './variables';

declare global {
  interface Window {
    streamvitals?: { sent: SentQuery[]; problems: string[] };
  }
}

// Grafana's grid: 24 columns, rows of 30 px, 8 px between panels and 16 px around them.
const [COLUMNS, ROW, GAP, AROUND] = [24, 30, 8, 16];

async function main(): Promise<void> {
  const request: RenderRequest = await (await fetch('/request')).json();
  await Promise.all(['400 14px Inter', '500 14px Inter', '400 14px "Roboto Mono"'].map((font) => document.fonts.load(font)));
  registerTransformations();
  registerFieldConfig();
  const theme = createTheme({ colors: { mode: request.theme } });
  const variables = new Variables(request);
  await variables.load();
  const sent: SentQuery[] = [];
  const timeRange = rangeOf(request);
  const around: Surroundings = {
    request, variables, timeRange, theme, sent,
    happenings: await annotations(request, variables, sent), alerts: await alerts(request.to),
  };
  const panels = visible(request.dashboard.panels);
  const placed = await Promise.all(panels.map((panel) => place(panel, around)));
  const bottom = Math.max(0, ...panels.map(({ gridPos: { y, h } }) => y + h));
  document.body.style.background = theme.colors.background.canvas;
  createRoot(document.getElementById('root') as HTMLElement).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ width: request.width }}>
        <Header request={request} variables={variables} theme={theme} />
        <div style={{ position: 'relative', height: bottom * (ROW + GAP) - GAP + AROUND }}>{placed}</div>
      </div>
      <PortalContainer />
    </ThemeContext.Provider>
  );
  // Charts draw in later frames, and icons come one by one.
  await new Promise((done) => setTimeout(done, 500));
  await idle();
  window.streamvitals = { sent, problems };
}

function rangeOf({ from, to }: RenderRequest): TimeRange {
  return { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };
}

/** Rows are headings; what is in a closed one is not seen. */
function visible(panels: Panel[]): Panel[] {
  return panels.flatMap((panel) => panel.type === 'row' && !panel.collapsed ? [panel, ...(panel.panels ?? [])] : [panel]);
}

async function place(panel: Panel, around: Surroundings): Promise<ReactElement> {
  const { x, y, w, h } = panel.gridPos;
  const column = (around.request.width - 2 * AROUND + GAP) / COLUMNS;
  const [width, height] = [Math.floor(w * column - GAP), h * (ROW + GAP) - GAP];
  const style: CSSProperties = { position: 'absolute', left: AROUND + x * column, top: y * (ROW + GAP), width, height };
  return (
    <div key={`${panel.id}-${x}-${y}`} style={style}>
      {panel.type === 'row' ? <Row panel={panel} around={around} /> : await drawn(panel, width, height, around)}
    </div>
  );
}

function Row({ panel, around: { theme, variables } }: { panel: Panel; around: Surroundings }): ReactElement {
  const style: CSSProperties = { ...theme.typography.h5, lineHeight: `${ROW}px`, color: theme.colors.text.primary };
  return <div style={style}>{panel.collapsed ? '›' : '⌄'} {variables.text(panel.title ?? '')}</div>;
}

/** Until nothing has been loaded for a while. */
async function idle(): Promise<void> {
  for (let count = -1; count !== performance.getEntriesByType('resource').length;) {
    count = performance.getEntriesByType('resource').length;
    await new Promise((done) => setTimeout(done, 300));
  }
}

window.addEventListener('error', ({ message }) => problem(`JavaScript: ${message}`));
window.addEventListener('unhandledrejection', ({ reason }) => problem(`JavaScript: ${told(reason)}`));
main().catch((error: unknown) => {
  problem(told(error));
  (document.getElementById('root') as HTMLElement).textContent = problems.join('\n');
  window.streamvitals = { sent: [], problems };
});
