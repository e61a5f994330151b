/** What /metrics tells, and what docs/operations.md says of it. */
import { readFileSync } from "node:fs";

/** Label names of every metric of the table in docs/operations.md. */
export const documentedMetrics: ReadonlyMap<string, readonly string[]> = new Map(
  [...readFileSync("docs/operations.md", "utf8").matchAll(/^\| `(atelier_\w+)` \|([^|]*)\|/gm)].map(
    ([, name = "", labels = ""]) => [name, [...labels.matchAll(/`(\w+)`/g)].map(([, label = ""]) => label)],
  ),
);

export class Told {
  constructor(private readonly text: string) {}

  get names(): readonly string[] {
    return [...this.text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name);
  }

  /** Of a metric, by the name of its samples. */
  samples(): readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[] {
    return [...this.text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name = "", labels = "", value]) => ({
      name,
      labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, of]) => [label, of])),
      value: Number(value),
    }));
  }

  /** The sum of those samples that have these labels; undefined when there are none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const found = this.samples().filter(
      (sample) => sample.name === name && Object.entries(labels).every(([label, of]) => sample.labels[label] === of),
    );
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }
}
