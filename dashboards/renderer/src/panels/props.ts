import { type DataFrame, type FieldConfigSource, type GrafanaTheme2, type TimeRange } from '@grafana/data';

import { type Happening } from '../annotations';
import { type Alert, type Exemplar } from '../prometheus';
import { type Panel } from '../request';
import { type Variables } from '../variables';

/** What a panel is drawn from: everything has been queried and computed. */
export interface PanelProps {
  panel: Panel;
  options: Record<string, any>;
  frames: DataFrame[];
  fieldConfig: FieldConfigSource;
  exemplars: Exemplar[];
  happenings: Happening[];
  alerts: Alert[];
  variables: Variables;
  timeRange: TimeRange;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}
