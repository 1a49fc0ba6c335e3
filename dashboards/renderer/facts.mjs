/** Writes down, as JSON, which units, transformations, matchers and calculations there are in Grafana. */
import { createRequire } from 'node:module';

// The packages are for browsers; of one they want to know how it writes dates.
globalThis.navigator ??= { language: 'en', languages: ['en'] };
const { DataTransformerID, fieldMatchers, fieldReducers, getValueFormats } = createRequire(import.meta.url)('@grafana/data');

process.stdout.write(JSON.stringify({
  units: getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)),
  transformations: Object.values(DataTransformerID),
  matchers: fieldMatchers.list().map(({ id }) => id),
  calculations: fieldReducers.list().map(({ id }) => id),
}));
