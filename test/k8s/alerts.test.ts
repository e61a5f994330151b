/** Alerts, their runbooks, and dashboards. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import { documentedMetrics } from "../support/metrics.ts";
import { labelsOf, problemsOfQuery } from "./queries.ts";
import { manifestSchema, type Of } from "./schemas.ts";

const FOLDER = "k8s/components/monitoring";
const { spec } = manifestSchema.parse(
  parse(readFileSync(`${FOLDER}/alerts-prometheusrule.yaml`, "utf8")),
) as Of<"PrometheusRule">;
const alerts = spec.groups.flatMap(({ rules }) => rules);
const names = alerts.map(({ alert }) => alert);

/** Sections of docs/operations.md under "Alerts". */
const runbooks = new Map(
  (readFileSync("docs/operations.md", "utf8").split("\n## Alerts\n")[1] ?? "")
    .split("\n### ")
    .slice(1)
    .map((section) => [section.split("\n", 1)[0] ?? "", section]),
);

describe("alerts", () => {
  test("have a runbook each, which is where their address says, and tells the four things", () => {
    expect([...runbooks.keys()].sort()).toEqual([...names].sort());
    for (const { alert, annotations } of alerts) {
      expect(new URL(annotations.runbook_url).pathname, alert).toMatch(/\/operations\.md$/);
      expect(new URL(annotations.runbook_url).hash).toBe(`#${alert.toLowerCase()}`);
      const told = [...(runbooks.get(alert) ?? "").matchAll(/^- \*\*(.+)\*\*: \S/gm)].map(([, what]) => what);
      expect(told, alert).toEqual(["For users", "Confirm", "Do", "Over when"]);
    }
  });

  test("ask for metrics and labels that there are", () => {
    for (const { alert, expr } of alerts) expect(problemsOfQuery(expr, []), alert).toEqual([]);
    expect(problemsOfQuery('sum by (tenant) (rate(atelier_steps_totals{worker="a"}[5m]))', [])).toEqual([
      "nobody tells atelier_steps_totals",
      "nothing in it has the label worker",
      "nothing in it has the label tenant",
    ]);
  });

  test("name only what their query leaves", () => {
    for (const { alert, expr, annotations } of alerts) {
      const shown = [...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, label = ""]) => label);
      for (const label of shown) expect(expr, alert).toMatch(new RegExp(`by \\([^)]*\\b${label}\\b`));
    }
  });

  test("are explained with names that exist", () => {
    for (const [alert, text] of runbooks)
      for (const name of text.match(/atelier_[a-z0-9_]*[a-z0-9]/g) ?? [])
        expect(labelsOf(name) !== undefined || ROLES.includes(name), `${alert}: ${name}`).toBe(true);
  });
});

const ROLES = ["atelier_api", "atelier_dispatcher"];

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
}
const dashboards = readdirSync(`${FOLDER}/dashboards`).map((file) => {
  const content = JSON.parse(readFileSync(`${FOLDER}/dashboards/${file}`, "utf8"));
  return { file, uid: String(content.uid), panels: content.panels as readonly Panel[], content };
});
const queriesOf = (panels: readonly Panel[]) =>
  panels.flatMap(({ title, targets }) => targets.map((target) => ({ title, ...target })));

describe("dashboards", () => {
  test.each(dashboards)("$file asks for metrics and labels that there are, and shows them", ({ panels }) => {
    for (const { title, expr, legendFormat } of queriesOf(panels)) {
      expect(problemsOfQuery(expr, []), title).toEqual([]);
      for (const [, label = ""] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
        expect(expr, title).toMatch(new RegExp(`by \\([^)]*\\b${label}\\b`));
    }
  });

  test.each(dashboards)("$file has panels beside one another, each once", ({ panels }) => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { gridPos, title } of panels) expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
  });

  test("show every metric, and are told apart", () => {
    const all = dashboards.flatMap(({ panels }) => queriesOf(panels).map(({ expr }) => expr)).join("\n");
    for (const metric of documentedMetrics.keys()) expect(all).toContain(metric);
    expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(dashboards.length);
    const { configMapGenerator } = parse(readFileSync(`${FOLDER}/kustomization.yaml`, "utf8"));
    expect(configMapGenerator[0].files.sort()).toEqual(dashboards.map(({ file }) => `dashboards/${file}`).sort());
  });
});

/** Series of an installation where all is well: promtool's notation, a value each minute. */
const HEALTHY: Readonly<Record<string, string>> = {
  'up{job="api",pod="1"}': "1x120",
  'up{job="dispatcher",pod="1"}': "1x120",
  'up{job="dispatcher",pod="2"}': "1x120",
  'atelier_operation_seconds_count{type="query",outcome="answered"}': "0+100x120",
  'atelier_queued_generations{pool="gpu"}': "5x120",
  'atelier_queued_gpu_seconds{pool="gpu"}': "50x120",
  'atelier_live_workers{pool="gpu"}': "2x120",
  'atelier_quarantined_workers{pool="gpu"}': "0x120",
  ...quantile("atelier_generation_wait_seconds", 'pool="gpu",priority="INTERACTIVE"', 10),
  ...quantile("atelier_eta_start_error_ratio", 'pool="gpu"', 0.1),
  ...quantile("atelier_claim_seconds", 'pool="gpu"', 0.01),
  ...quantile("atelier_database_transaction_seconds", 'role="atelier_api",outcome="committed"', 0.01),
  'atelier_database_transaction_seconds_count{role="atelier_api",outcome="committed"}': "0+1000x120",
  'atelier_attempts_ended_total{outcome="SUCCEEDED",failure_class=""}': "0+10x120",
  'atelier_attempts_ended_total{outcome="ORPHANED",failure_class="ORPHANED"}': "0x120",
  'atelier_generations_ended_total{state="DEAD_LETTERED"}': "0x120",
  atelier_ledger_unbalanced_tenants: "0x120",
  'atelier_duty_seconds_count{duty="leases",outcome="failed"}': "0x120",
  'atelier_s3_request_seconds_count{method="PUT",outcome="done"}': "0+10x120",
  'atelier_redis_up{connection="publisher"}': "1x120",
};

/** A histogram in which all is as large as this, or a little less. */
function quantile(name: string, labels: string, value: number): Record<string, string> {
  return Object.fromEntries(
    [value / 2, value, "+Inf"].map((le, i) => [`${name}_bucket{${labels},le="${le}"}`, `0+${i === 0 ? 0 : 10}x120`]),
  );
}

/** What differs in each trouble; undefined: it is not told. */
const TROUBLES: Readonly<Record<string, Readonly<Record<string, string | undefined>>>> = {
  AtelierApiDown: { 'up{job="api",pod="1"}': "0x120" },
  AtelierApiFails: { 'atelier_operation_seconds_count{type="query",outcome="failed"}': "0+5x120" },
  AtelierDispatcherDown: { 'up{job="dispatcher",pod="1"}': undefined, 'up{job="dispatcher",pod="2"}': undefined },
  AtelierNoStandby: { 'up{job="dispatcher",pod="2"}': "0x120" },
  AtelierNobodyServes: { 'atelier_live_workers{pool="gpu"}': "0x120" },
  AtelierBacklog: { 'atelier_queued_gpu_seconds{pool="gpu"}': "4000x120" },
  AtelierWaitsLong: quantile("atelier_generation_wait_seconds", 'pool="gpu",priority="INTERACTIVE"', 300),
  AtelierEstimatesOff: quantile("atelier_eta_start_error_ratio", 'pool="gpu"', 5),
  AtelierClaimsSlow: quantile("atelier_claim_seconds", 'pool="gpu"', 5),
  AtelierAttemptsFail: { 'atelier_attempts_ended_total{outcome="FAILED",failure_class="WORKER_LOST"}': "0+5x120" },
  AtelierWorkersQuarantined: { 'atelier_quarantined_workers{pool="gpu"}': "1x120" },
  AtelierLeasesRescued: {
    'atelier_attempts_ended_total{outcome="ORPHANED",failure_class="ORPHANED"}': "0x115 1x5",
  },
  AtelierDeadLetters: { 'atelier_generations_ended_total{state="DEAD_LETTERED"}': "0x115 1x5" },
  AtelierLedgerDrift: { atelier_ledger_unbalanced_tenants: "1x120" },
  AtelierDutyFails: { 'atelier_duty_seconds_count{duty="leases",outcome="failed"}': "0x100 1x20" },
  AtelierDatabaseFails: {
    'atelier_database_transaction_seconds_count{role="atelier_api",outcome="failed"}': "0+100x120",
  },
  AtelierDatabaseSlow: quantile("atelier_database_transaction_seconds", 'role="atelier_api",outcome="committed"', 5),
  AtelierImageStoreFails: { 'atelier_s3_request_seconds_count{method="PUT",outcome="refused"}': "0+5x120" },
  AtelierRedisAway: { 'atelier_redis_up{connection="publisher"}': "0x120" },
};

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;

describe.skipIf(!hasPromtool)("with promtool (of Debian's package prometheus)", () => {
  const run = (...files: readonly (readonly [string, object])[]) => {
    const folder = mkdtempSync(join(tmpdir(), "atelier-rules-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    for (const [name, content] of files) writeFileSync(join(folder, name), stringify(content));
    return (...args: readonly string[]): string => {
      const { stdout, stderr } = spawnSync("promtool", args, { cwd: folder, encoding: "utf8" });
      return stdout + stderr;
    };
  };

  test("queries of dashboards can be evaluated", () => {
    const rules = dashboards.flatMap(({ panels }) =>
      queriesOf(panels).map(({ expr }, i) => ({
        record: `query_${i}`,
        expr: expr.replaceAll("$pool", ".*").replaceAll("$__rate_interval", "1m"),
        labels: { panel: `${i}` },
      })),
    );
    const promtool = run(["rules.yaml", { groups: [{ name: "dashboards", rules }] }]);
    expect(promtool("check", "rules", "--lint=none", "rules.yaml")).toContain(`SUCCESS: ${rules.length} rules found`);
  });

  test("each alert fires in its trouble and no other one does, and none while all is well", () => {
    expect(Object.keys(TROUBLES).sort()).toEqual([...names].sort());
    const caseOf = (name: string | undefined) => ({
      name: name ?? "all is well",
      interval: "1m",
      input_series: Object.entries({ ...withoutReplaced(name), ...(name && TROUBLES[name]) })
        .filter(([, values]) => values !== undefined)
        .map(([series, values]) => ({ series, values })),
      promql_expr_test: [
        {
          expr: 'group by (alertname) (ALERTS{alertstate="firing"})',
          eval_time: "119m",
          exp_samples: name === undefined ? [] : [{ labels: `{alertname="${name}"}`, value: 1 }],
        },
      ],
    });
    const tests = [caseOf(undefined), ...names.map(caseOf)];
    const promtool = run(
      ["rules.yaml", { groups: spec.groups }],
      ["tests.yaml", { rule_files: ["rules.yaml"], evaluation_interval: "1m", tests }],
    );
    expect(promtool("test", "rules", "tests.yaml")).toContain("SUCCESS");
  });
});

/** A histogram has other buckets in trouble. */
function withoutReplaced(name: string | undefined): Record<string, string> {
  const replaced = Object.keys((name && TROUBLES[name]) || {}).filter((series) => series.includes("_bucket{"));
  const histograms = replaced.map((series) => series.slice(0, series.indexOf("{")));
  return Object.fromEntries(
    Object.entries(HEALTHY).filter(([series]) => !histograms.some((histogram) => series.startsWith(`${histogram}{`))),
  );
}
