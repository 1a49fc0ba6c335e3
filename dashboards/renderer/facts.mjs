/**
 * Writes down, as JSON, which units, transformations, matchers and calculations there are in Grafana, and of each TraceQL
 * query that is given as an argument what its grammar does not understand.
 */
import { createRequire } from 'node:module';

// The packages are for browsers; of one they want to know how it writes dates.
globalThis.navigator ??= { language: 'en', languages: ['en'] };
const require = createRequire(import.meta.url);
const { DataTransformerID, fieldMatchers, fieldReducers, getValueFormats } = require('@grafana/data');
const { parser } = require('@grafana/lezer-traceql');

const misunderstood = (query) => {
  const found = [];
  parser.parse(query).iterate({ enter: ({ type, from }) => { if (type.isError) found.push(query.slice(from)); } });
  return found;
};

process.stdout.write(JSON.stringify({
  units: getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)),
  transformations: Object.values(DataTransformerID),
  matchers: fieldMatchers.list().map(({ id }) => id),
  calculations: fieldReducers.list().map(({ id }) => id),
  misunderstood: process.argv.slice(2).flatMap(misunderstood),
}));
