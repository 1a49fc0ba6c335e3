/** Prometheus's HTTP API, through the server that also serves the page. */
import { type RenderRequest } from './request';

export type Labels = Record<string, string>;

export interface Series {
  metric: Labels;
  /** Seconds and values: one for an instant query. */
  values: Array<[number, string]>;
}

export interface Exemplar {
  /** Milliseconds. */
  time: number;
  value: number;
  labels: Labels;
}

export interface Alert {
  name: string;
  state: 'firing' | 'pending';
  labels: Labels;
  activeAt: number;
}

async function api<T>(path: string, parameters: Record<string, string> = {}): Promise<T> {
  const answer = await fetch(`/prometheus/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const text = await answer.text();
  let body: { status?: string; error?: string; data?: T };
  try {
    body = JSON.parse(text);
  } catch {
    throw new Error(`Prometheus answered ${answer.status}: ${text.slice(0, 200)}`);
  }
  if (body.status !== 'success') {
    throw new Error(body.error ?? `Prometheus answered ${answer.status}`);
  }
  return body.data as T;
}

interface QueryData {
  resultType: 'matrix' | 'vector' | 'scalar' | 'string';
  result: any;
}

/** From and to in milliseconds, step in seconds; both ends on the step's grid, as Grafana asks. */
export async function queryRange(expr: string, from: number, to: number, step: number): Promise<Series[]> {
  const grid = (time: number): string => String(Math.floor(time / 1000 / step) * step);
  const data = await api<QueryData>('query_range', {
    query: expr, start: grid(from), end: grid(to), step: String(step),
  });
  return data.result;
}

export async function queryInstant(expr: string, time: number): Promise<Series[]> {
  const data = await api<QueryData>('query', { query: expr, time: String(time / 1000) });
  switch (data.resultType) {
    case 'vector':
      return data.result.map((one: any) => ({ metric: one.metric, values: [one.value] }));
    case 'scalar':
      return [{ metric: {}, values: [data.result] }];
    case 'matrix':
      return data.result;
    default:
      throw new Error(`a result of the type ${data.resultType} cannot be drawn`);
  }
}

export async function queryExemplars(expr: string, from: number, to: number): Promise<Exemplar[]> {
  const found = await api<any[]>('query_exemplars', {
    query: expr, start: String(from / 1000), end: String(to / 1000),
  });
  return found.flatMap(({ seriesLabels, exemplars }) =>
    exemplars.map((one: any) => ({
      time: one.timestamp * 1000, value: Number(one.value), labels: { ...seriesLabels, ...one.labels },
    })));
}

/** Pending and firing at that time, in milliseconds: what Prometheus wrote down of its alerts. */
export async function alerts(time: number): Promise<Alert[]> {
  const [found, since] = await Promise.all([queryInstant('ALERTS', time), queryInstant('ALERTS_FOR_STATE', time)]);
  const key = ({ __name__, alertstate, ...labels }: Labels): string => JSON.stringify(Object.entries(labels).sort());
  const active = new Map(since.map(({ metric, values }) => [key(metric), Number(values[0]?.[1]) * 1000]));
  return found.map(({ metric }) => ({
    name: metric['alertname'] ?? '', state: metric['alertstate'] === 'firing' ? 'firing' : 'pending', labels: metric,
    activeAt: active.get(key(metric)) ?? time,
  }));
}

/** What a query variable asks for, sorted. */
export async function labelValues(query: string, { from, to }: RenderRequest): Promise<string[]> {
  const range = { start: String(from / 1000), end: String(to / 1000) };
  const values = /^\s*label_values\((?:(.+),\s*)?([\w.]+)\s*\)\s*$/s.exec(query);
  if (values) {
    const match: Record<string, string> = values[1] ? { 'match[]': values[1] } : {};
    return api<string[]>(`label/${values[2]}/values`, { ...match, ...range });
  }
  const results = /^\s*query_result\((.+)\)\s*$/s.exec(query);
  if (results) {
    const series = await queryInstant(results[1] ?? '', to);
    return series.map(({ metric, values: [at] }) => `${named(metric)} ${at?.[1]} ${(at?.[0] ?? 0) * 1000}`);
  }
  throw new Error(`the query of a variable is neither label_values() nor query_result(): ${query}`);
}

/** A series's name as Prometheus writes it. */
export function named(metric: Labels): string {
  const labels = Object.entries(metric).filter(([name]) => name !== '__name__').map(([k, v]) => `${k}="${v}"`);
  return `${metric['__name__'] ?? ''}{${labels.join(', ')}}`.replace(/^(.+)\{\}$/, '$1');
}

/** A text with the series' labels in the places of {{label}}. */
export function legendText(text: string, metric: Labels): string {
  return text.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => metric[label] ?? '');
}
