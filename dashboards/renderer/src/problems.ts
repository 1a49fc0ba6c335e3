/** What could not be drawn as Grafana would: shown in the picture, printed, and the reason for exit code 1. */
export const problems: string[] = [];

export function problem(text: string): void {
  if (!problems.includes(text)) {
    problems.push(text);
  }
}

export function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
