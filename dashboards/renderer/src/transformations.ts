/** A panel's transformations, by Grafana's own code. */
import { lastValueFrom } from 'rxjs';

import {
  type DataFrame, standardTransformers, standardTransformersRegistry, transformDataFrame, type TransformerRegistryItem,
} from '@grafana/data';

import { type Panel } from './request';
import { timeSeriesTable } from './timeSeriesTable';
import { type Variables } from './variables';

export function registerTransformations(): void {
  const known = new Map([...Object.values(standardTransformers), timeSeriesTable].map((info) => [info.id, info]));
  standardTransformersRegistry.setInit(() => [...known.values()].map((info) => ({
    id: info.id, name: info.name, description: info.description, editor: () => null, imageDark: '', imageLight: '',
    transformation: () => Promise.resolve(info),
  }) as TransformerRegistryItem));
}

/** Raises for a transformation that is not known. */
export async function transformed(panel: Panel, frames: DataFrame[], variables: Variables): Promise<DataFrame[]> {
  const wanted = (panel.transformations ?? []).filter(({ disabled }) => !disabled);
  const unknown = wanted.filter(({ id }) => !standardTransformersRegistry.getIfExists(id)).map(({ id }) => id);
  if (unknown.length) {
    throw new Error(`no such transformation: ${unknown.join(', ')}`);
  }
  if (!wanted.length) {
    return frames;
  }
  const context = { interpolate: (text: string) => variables.text(text) };
  return lastValueFrom(transformDataFrame(wanted as Parameters<typeof transformDataFrame>[0], frames, context));
}
