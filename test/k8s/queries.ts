/** What is wrong with a query of Prometheus, as far as its names tell. */
import { documentedMetrics } from "../support/metrics.ts";
import type { Manifest } from "./schemas.ts";

/** That Prometheus adds, or histograms have. */
const COMMON = ["job", "instance", "namespace", "pod", "le"];

/** Metrics exist and have the labels that are asked for, and pools are led by somebody. */
export function problemsOfQuery(query: string, manifests: readonly Manifest[]): readonly string[] {
  const names = query.match(/atelier_[a-z0-9_]+/g) ?? [];
  const unknown = names.filter((name) => labelsOf(name) === undefined).map((name) => `nobody tells ${name}`);
  const labels = [...COMMON, ...names.flatMap((name) => labelsOf(name) ?? [])];
  const foreign = labelsIn(query).filter((label) => !labels.includes(label));
  const pools = manifests.flatMap((manifest) => (manifest.kind === "ConfigMap" ? [manifest.data["POOL"]] : []));
  const unled = [...query.matchAll(/pool="([^"]*)"/g)].filter(([, pool]) => !pools.includes(pool));
  return [
    ...unknown,
    ...foreign.map((label) => `nothing in it has the label ${label}`),
    ...unled.map(([, pool]) => `nobody leads the pool ${pool}`),
  ];
}

/** Of a metric, by the name of its samples; undefined when there is none. */
export const labelsOf = (name: string): readonly string[] | undefined =>
  documentedMetrics.get(name) ?? documentedMetrics.get(name.replace(/_(bucket|count|sum)$/, ""));

/** In selectors and groupings. */
const labelsIn = (query: string): readonly string[] => [
  ...[...query.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label = ""]) => label),
  ...[...query.matchAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g)].flatMap(([, list = ""]) =>
    list.split(/\s*,\s*/),
  ),
];
