/** What is to be drawn, as render.mjs hands it to the page. */
export interface RenderRequest {
  dashboard: Dashboard;
  /** Milliseconds since the epoch. */
  from: number;
  to: number;
  theme: 'dark' | 'light';
  width: number;
  /** The data source's "scrape interval", in seconds: what Grafana takes as the smallest step. */
  scrapeInterval: number;
  /** Values given for variables; the rest have what the dashboard says. */
  variables: Record<string, string[]>;
}

/** The parts of the classic dashboard model that are read here. Its full type is what the JSON is checked against. */
export interface Dashboard {
  title: string;
  uid: string;
  panels: Panel[];
  templating?: { list?: VariableModel[] };
  annotations?: { list?: AnnotationQuery[] };
  links?: Array<{ title: string; type?: string; url?: string; icon?: string }>;
}

export interface VariableModel {
  name: string;
  label?: string;
  type: string;
  hide?: number;
  query?: string | { query?: string };
  regex?: string;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string | null;
  sort?: number;
  current?: { text?: string | string[]; value?: string | string[] };
  options?: Array<{ text: string | string[]; value: string | string[] }>;
}

export interface AnnotationQuery {
  name: string;
  enable?: boolean;
  iconColor?: string;
  expr?: string;
  step?: string;
  builtIn?: number;
  target?: { expr?: string };
  filter?: { exclude?: boolean; ids?: number[] };
}

export interface Target {
  refId: string;
  expr?: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
  exemplar?: boolean;
  hide?: boolean;
  interval?: string;
  intervalFactor?: number;
  legendFormat?: string;
}

export interface Panel {
  id?: number;
  type: string;
  title?: string;
  description?: string;
  transparent?: boolean;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Target[];
  transformations?: Array<{ id: string; options?: unknown; disabled?: boolean; filter?: unknown }>;
  fieldConfig?: { defaults?: Record<string, any>; overrides?: any[] };
  options?: Record<string, any>;
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  timeShift?: string;
  repeat?: string;
  collapsed?: boolean;
  panels?: Panel[];
}

/** One target as it was sent, for whoever wants to know which queries return nothing. */
export interface SentQuery {
  panel: number | undefined;
  title: string;
  refId: string;
  expr: string;
  series: number;
}
