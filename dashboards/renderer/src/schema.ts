/** What the JSON of a dashboard may say, by Grafana's types: generated checks assign the JSON to these. */
import type * as barchart from '../node_modules/@grafana/schema/dist/types/raw/composable/barchart/panelcfg/x/types.gen';
import type * as bargauge from '../node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type * as gauge from '../node_modules/@grafana/schema/dist/types/raw/composable/gauge/panelcfg/x/types.gen';
import type * as heatmap from '../node_modules/@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as piechart from '../node_modules/@grafana/schema/dist/types/raw/composable/piechart/panelcfg/x/types.gen';
import type * as stat from '../node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as statetimeline from '../node_modules/@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import type * as table from '../node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as text from '../node_modules/@grafana/schema/dist/types/raw/composable/text/panelcfg/x/types.gen';
import type * as timeseries from '../node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import type * as board from '../node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';

/** What a dashboard of the second schema may and must say. */
export type { Spec as V2 } from '../node_modules/@grafana/schema/dist/types/schema/dashboard/v2beta1/types.spec.gen';

/**
 * The same as JSON has it: an enumeration is its values, and what is left out gets its default. A property that is
 * not known is an error all the same, and so is a value of another type.
 */
export type Said<T> =
  unknown extends T ? T
  : T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends Array<infer U> ? Array<Said<U>>
  : T extends object ? { [K in keyof T]?: Said<T[K]> }
  : T;

type NoCustom = Record<string, never>;

/** Options of tables before Grafana 12.2, which takes them away; no footer is none either way. */
interface OldTable {
  footer: { show: false; countRows: false; reducer: never[] };
}

/** What the Prometheus data source reads of an annotation, beside what all have (packages/grafana-prometheus). */
interface PrometheusAnnotation {
  expr: string;
  step: string;
  tagKeys: string;
  textFormat: string;
  titleFormat: string;
  useValueForTime: boolean;
}

/** What variables of the type interval have; the code that makes dashboards writes it for all. */
interface Interval {
  auto: boolean;
  auto_count: number;
  auto_min: string;
}

interface Configured<Options, Custom = NoCustom> {
  options: Said<Options>;
  /** ``defaults`` of a panel, or what one override sets. */
  fieldConfig: Said<Omit<board.FieldConfig, 'custom'>> & { custom?: Said<Custom> };
}

export interface Panels {
  barchart: Configured<barchart.Options, barchart.FieldConfig>;
  bargauge: Configured<bargauge.Options>;
  gauge: Configured<gauge.Options>;
  heatmap: Configured<heatmap.Options, heatmap.FieldConfig>;
  piechart: Configured<piechart.Options, piechart.FieldConfig>;
  stat: Configured<stat.Options>;
  'state-timeline': Configured<statetimeline.Options, statetimeline.FieldConfig>;
  table: Configured<table.Options & OldTable, table.FieldConfig>;
  text: Configured<text.Options>;
  timeseries: Configured<timeseries.Options, timeseries.FieldConfig>;
}

/** A dashboard; options and field configuration of its panels are checked on their own. */
export type Board = Said<Omit<board.Dashboard, 'panels' | 'annotations' | 'templating'>> & {
  panels: Array<Said<board.Panel> | Said<board.RowPanel>>;
  annotations?: { list: Array<Said<board.AnnotationQuery & PrometheusAnnotation>> };
  templating?: { list: Array<Said<board.VariableModel & Interval>> };
};
