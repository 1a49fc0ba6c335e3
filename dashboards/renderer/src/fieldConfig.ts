/** Field configuration: what the panels' plugins set by default, then the panel's own, then its overrides. */
import { cloneDeep, defaultsDeep } from 'lodash';

import {
  applyFieldOverrides, booleanOverrideProcessor, cacheFieldDisplayNames, type DataFrame,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor, FieldConfigOptionsRegistry, type FieldConfigPropertyItem, type FieldConfigSource,
  type GrafanaTheme2, identityOverrideProcessor, numberOverrideProcessor, standardFieldConfigEditorRegistry,
  stringOverrideProcessor, thresholdsOverrideProcessor, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';

import { problem } from './problems';
import { type Panel } from './request';
import { type Variables } from './variables';

type Process = FieldConfigPropertyItem['process'];
const STANDARD: Record<string, Process> = {
  unit: unitOverrideProcessor, decimals: numberOverrideProcessor, min: numberOverrideProcessor,
  max: numberOverrideProcessor, fieldMinMax: booleanOverrideProcessor, displayName: displayNameOverrideProcessor,
  noValue: stringOverrideProcessor, thresholds: thresholdsOverrideProcessor, mappings: valueMappingsOverrideProcessor,
  links: dataLinksOverrideProcessor, color: identityOverrideProcessor, filterable: booleanOverrideProcessor,
  description: stringOverrideProcessor,
} as Record<string, Process>;

const THRESHOLDS = { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 80, color: 'red' }] };
const AXIS = { axisPlacement: 'auto', axisColorMode: 'text', axisBorderShow: false, axisCenteredZero: false };
/** As the plugins set them where a dashboard says nothing. */
const DEFAULTS: Record<string, { color?: string; custom?: Record<string, unknown> }> = {
  timeseries: {
    color: 'palette-classic',
    custom: {
      ...AXIS, drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
      barAlignment: 0, barWidthFactor: 0.6, showPoints: 'auto', pointSize: 5, axisGridShow: true,
      stacking: { mode: 'none', group: 'A' }, spanNulls: false, insertNulls: false,
      thresholdsStyle: { mode: 'off' }, scaleDistribution: { type: 'linear' },
      hideFrom: { legend: false, tooltip: false, viz: false }, lineStyle: { fill: 'solid' },
    },
  },
  barchart: { color: 'palette-classic', custom: { ...AXIS, lineWidth: 1, fillOpacity: 80, gradientMode: 'none' } },
  'state-timeline': { color: 'continuous-GrYlRd', custom: { lineWidth: 0, fillOpacity: 70 } },
  table: { custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false, filterable: false } },
};

function property(id: string, isCustom: boolean, process: Process): FieldConfigPropertyItem {
  return {
    id, path: isCustom ? id.replace(/^custom\./, '') : id, name: id, isCustom, process,
    shouldApply: () => true, override: () => null, editor: () => null,
  } as unknown as FieldConfigPropertyItem;
}

export function fieldConfigOf(panel: Panel): FieldConfigSource {
  const own = DEFAULTS[panel.type] ?? {};
  const defaults = defaultsDeep(cloneDeep(panel.fieldConfig?.defaults ?? {}), { custom: own.custom ?? {} });
  defaults.thresholds ??= THRESHOLDS;
  defaults.color ??= { mode: own.color ?? 'thresholds' };
  defaults.mappings ??= [];
  return { defaults, overrides: cloneDeep(panel.fieldConfig?.overrides ?? []) };
}

function registryFor(panel: Panel, source: FieldConfigSource): FieldConfigOptionsRegistry {
  const registry = new FieldConfigOptionsRegistry();
  for (const [id, process] of Object.entries(STANDARD)) {
    registry.register(property(id, false, process));
  }
  const said = source.overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const custom = [...Object.keys(source.defaults.custom ?? {}).map((key) => `custom.${key}`), ...said];
  for (const id of new Set(custom)) {
    if (id.startsWith('custom.')) {
      registry.register(property(id, true, identityOverrideProcessor as Process));
    } else if (!(id in STANDARD)) {
      problem(`panel "${panel.title}": an override sets "${id}", which is no property of a field`);
    }
  }
  return registry;
}

export function registerFieldConfig(): void {
  standardFieldConfigEditorRegistry.setInit(() =>
    Object.entries(STANDARD).map(([id, process]) => property(id, false, process)));
}

export function configured(
  panel: Panel, frames: DataFrame[], theme: GrafanaTheme2, variables: Variables
): { frames: DataFrame[]; fieldConfig: FieldConfigSource } {
  const fieldConfig = fieldConfigOf(panel);
  const made = applyFieldOverrides({
    data: frames, fieldConfig, theme, timeZone: 'utc', fieldConfigRegistry: registryFor(panel, fieldConfig),
    replaceVariables: (text, scoped, format) => variables.text(text, scoped, format),
  });
  cacheFieldDisplayNames(made);
  return { fieldConfig, frames: made };
}
