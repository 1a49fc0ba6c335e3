/** Variables: their values, and their places in texts. */
import { get } from 'lodash';

import { type ScopedVars } from '@grafana/data';

import { labelValues } from './prometheus';
import { problem } from './problems';
import { type RenderRequest, type VariableModel } from './request';

export interface Variable {
  model: VariableModel;
  values: string[];
  all: boolean;
  options: string[];
}

const ALL = '$__all';
// $name, ${name}, ${name.field.path}, ${name:format} and [[name]].
const PLACE = /\$(\w+)|\$\{(\w+)((?:\.[^:}^]+)|(?:\["[^}]*))?(?::([^}]+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

/** As Grafana's Prometheus data source escapes a value for use in a regular expression. */
const regexEscaped = (text: string): string => text.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]+?.()|]/g, '\\\\$&');
const quoteEscaped = (text: string): string => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"');

export class Variables {
  readonly list: Variable[] = [];
  /** What Grafana adds, such as $__interval; text by name. */
  readonly builtIn: Record<string, string>;

  constructor(private readonly request: RenderRequest, builtIn: Record<string, string> = {}) {
    this.builtIn = {
      __from: String(request.from), __to: String(request.to), __dashboard: request.dashboard.title,
      timezone: 'utc', ...builtIn,
    };
  }

  /** The same variables with more built-in ones. */
  with(builtIn: Record<string, string>): Variables {
    const more = new Variables(this.request, { ...this.builtIn, ...builtIn });
    more.list.push(...this.list);
    return more;
  }

  async load(): Promise<void> {
    for (const name of Object.keys(this.request.variables)) {
      if (!this.request.dashboard.templating?.list?.some((model) => model.name === name)) {
        problem(`the dashboard has no variable "${name}"`);
      }
    }
    for (const model of this.request.dashboard.templating?.list ?? []) {
      this.list.push(await this.loaded(model));
    }
  }

  private async loaded(model: VariableModel): Promise<Variable> {
    const options = await this.options(model);
    const wanted = this.request.variables[model.name] ?? [model.current?.value ?? []].flat().map(String);
    const all = wanted.includes(ALL) || wanted.includes('All') || (wanted.length === 0 && Boolean(model.includeAll));
    const values = all ? options : wanted.length ? wanted : options.slice(0, 1);
    return { model, values, all, options };
  }

  private async options(model: VariableModel): Promise<string[]> {
    const query = typeof model.query === 'string' ? model.query : model.query?.query ?? '';
    switch (model.type) {
      case 'query': {
        const found = await labelValues(this.text(query, {}, 'regex'), this.request);
        const pattern = model.regex ? new RegExp(model.regex.replace(/^\/|\/$/g, '')) : undefined;
        return found.filter((value) => !pattern || pattern.test(value));
      }
      case 'custom':
      case 'interval':
        return query.split(',').map((value) => value.trim()).filter(Boolean);
      case 'datasource':
        return ['Prometheus'];
      case 'constant':
      case 'textbox':
        return [query];
      default:
        problem(`variables of type "${model.type}" cannot be drawn`);
        return [];
    }
  }

  /** The text with every variable in it replaced. ``format`` is for those that say none: 'promql' or 'text'. */
  text(text: string, scoped: ScopedVars = {}, format: string | Function = 'text'): string {
    return text.replace(PLACE, (whole, plain, braced, path, said, square, squareSaid) => {
      const name: string = plain ?? braced ?? square;
      if (name in scoped) {
        const value = scoped[name]?.value;
        const found = path ? get(value, path.startsWith('.') ? path.slice(1) : path) : value;
        return found === undefined || typeof found === 'object' ? whole : String(found);
      }
      if (name === '__data' || name === '__field' || name === '__value' || name === '__series') {
        return this.fromContext(name, path ?? '', scoped) ?? whole;
      }
      if (name in this.builtIn) {
        return this.builtIn[name] ?? whole;
      }
      if (name === '__url_time_range') {
        return `from=${this.request.from}&to=${this.request.to}`;
      }
      if (name === '__all_variables') {
        return this.list.map((variable) => queryParameter(variable)).join('&');
      }
      const variable = this.list.find((one) => one.model.name === name);
      return variable ? formatted(variable, said ?? squareSaid ?? (typeof format === 'string' ? format : 'text')) : whole;
    });
  }

  private fromContext(name: string, path: string, scoped: ScopedVars): string | undefined {
    const context = scoped['__dataContext']?.value;
    if (!context) {
      return undefined;
    }
    const { frame, field, rowIndex } = context;
    if (name === '__data' && path.startsWith('.fields')) {
      const wanted = path.replace(/^\.fields/, '').replace(/^[.[]"?|"?\]$/g, '').replace(/"?\]?\.(text|numeric)$/, '');
      const one = frame.fields.find((f: any, i: number) => f.name === wanted || f.state?.displayName === wanted
        || f.config.displayName === wanted || String(i) === wanted);
      return one && rowIndex !== undefined ? String(one.values[rowIndex]) : undefined;
    }
    if (name === '__field') {
      const found = path === '.name' ? field.state?.displayName ?? field.name : get(field, path.slice(1));
      return found === undefined ? '' : String(found);
    }
    if (name === '__value' && rowIndex !== undefined) {
      const value = field.values[rowIndex];
      return path === '.time' ? String(frame.fields.find((f: any) => f.type === 'time')?.values[rowIndex]) : String(value);
    }
    return name === '__series' ? String(frame.name ?? '') : undefined;
  }
}

function queryParameter(variable: Variable): string {
  const values = variable.all ? [ALL] : variable.values;
  return values.map((value) => `var-${variable.model.name}=${encodeURIComponent(value)}`).join('&');
}

function formatted(variable: Variable, format: string): string {
  const { model, values, all } = variable;
  switch (format) {
    case 'queryparam':
      return queryParameter(variable);
    case 'text':
      return all ? 'All' : values.join(' + ');
    case 'promql':
    case 'regex':
      if (all && model.allValue) {
        return model.allValue;
      }
      if (!model.multi && !model.includeAll) {
        return quoteEscaped(values[0] ?? '');
      }
      return values.length === 1 ? regexEscaped(values[0] ?? '') : `(${values.map(regexEscaped).join('|')})`;
    case 'raw':
    case 'csv':
      return all && model.allValue ? model.allValue : values.join(',');
    case 'pipe':
      return values.join('|');
    case 'uriencode':
      return encodeURI(values.join(','));
    case 'percentencode':
      return encodeURIComponent(values.join(','));
    default:
      problem(`variables in the format "${format}" cannot be drawn`);
      return values.join(',');
  }
}
