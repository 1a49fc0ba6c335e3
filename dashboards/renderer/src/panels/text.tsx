import { type ReactElement } from 'react';

import { renderTextPanelMarkdown, textUtil } from '@grafana/data';

import { type PanelProps } from './props';

export function TextPanel({ options, variables, height }: PanelProps): ReactElement {
  const content = variables.text(String(options['content'] ?? ''));
  if (options['mode'] === 'code') {
    return <pre style={{ height }}>{content}</pre>;
  }
  const html = options['mode'] === 'html' ? textUtil.sanitizeTextPanelContent(content) : renderTextPanelMarkdown(content);
  return <div className="markdown-html" style={{ height, overflow: 'hidden' }} dangerouslySetInnerHTML={{ __html: html }} />;
}
