/**
 * What this process tells Prometheus of what it does. The table in docs/operations.md has the same names, and says what they
 * mean. Labels have few values, whoever uses the server: no tenants, no generations, and only so many workers.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { ROOT } from "./config.ts";

/** Seconds: of statements and requests, of operations and duties, of what people wait for. */
const QUICK = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15];
const SLOW = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const WAITS = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14_400];

/** Of which steps are told at a time; those of the worker that was heard of longest ago go. */
const MAX_WORKERS = 100;

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };

export class Metrics {
  readonly registry = new Registry();
  readonly claimSeconds = this.histogram("atelier_claim_seconds", ["pool"], QUICK);
  readonly slotWaitSeconds = this.histogram("atelier_slot_wait_seconds", ["pool"], WAITS);
  readonly generationWaitSeconds = this.histogram("atelier_generation_wait_seconds", ["pool", "priority"], WAITS);
  readonly generationsEnded = this.counter("atelier_generations_ended_total", ["state"]);
  readonly attemptsEnded = this.counter("atelier_attempts_ended_total", ["outcome", "failure_class"]);
  readonly promptReads = this.counter("atelier_prompt_reads_total", ["pool", "preset", "cached"]);
  readonly dutySeconds = this.histogram("atelier_duty_seconds", ["duty", "outcome"], SLOW);
  readonly dutyItems = this.counter("atelier_duty_items_total", ["duty"]);
  readonly prunedRows = this.counter("atelier_pruned_rows_total", ["table"]);
  readonly unbalancedTenants = this.gauge("atelier_ledger_unbalanced_tenants", []);
  readonly ledgerDrift = this.gauge("atelier_ledger_drift_credits", []);
  readonly operationSeconds = this.histogram("atelier_operation_seconds", ["type", "outcome"], SLOW);
  readonly socketsOpen = this.gauge("atelier_sockets_open", []);
  readonly subscriptionsOpen = this.gauge("atelier_subscriptions_open", []);
  readonly framesSent = this.counter("atelier_frames_sent_total", []);
  readonly framesDropped = this.counter("atelier_frames_dropped_total", ["at"]);
  readonly transactionSeconds = this.histogram("atelier_database_transaction_seconds", ["role", "outcome"], QUICK);
  readonly redisSeconds = this.histogram("atelier_redis_command_seconds", ["connection", "outcome"], QUICK);
  readonly redisUp = this.gauge("atelier_redis_up", ["connection"]);
  readonly s3Seconds = this.histogram("atelier_s3_request_seconds", ["method", "outcome"], SLOW);
  private readonly steps = this.counter("atelier_steps_total", ["pool", "preset", "worker"]);
  private readonly stepSeconds = this.counter("atelier_step_seconds_total", ["pool", "preset", "worker"]);
  /** Presets of workers of which steps are told, the one that was heard of last at the end. */
  private readonly presets = new Map<string, Set<string>>();

  /** @param process.pool that a dispatcher in this process leads, or stands by for */
  constructor(private readonly process: { readonly role: string; readonly pool: string }) {
    const info = this.gauge("atelier_build_info", ["version", "node", "role"]);
    info.set({ version, node: globalThis.process.versions.node, role: process.role }, 1);
    // From 0 on, so that the first one is seen as an increase.
    for (const at of ["bus", "subscriber"]) this.framesDropped.inc({ at }, 0);
    for (const table of ["milestone", "attempt"]) this.prunedRows.inc({ table }, 0);
  }

  get pool(): string {
    return this.process.pool;
  }

  /** Steps that an attempt took, and for how long. */
  noteSteps({ worker, preset }: { worker: string; preset: string }, steps: number, ms: number): void {
    const labels = { pool: this.pool, preset, worker };
    const known = this.presets.get(worker) ?? new Set();
    this.presets.delete(worker);
    this.presets.set(worker, known.add(preset));
    this.steps.inc(labels, steps);
    this.stepSeconds.inc(labels, ms / 1000);
    const [oldest] = this.presets.keys();
    if (this.presets.size > MAX_WORKERS && oldest !== undefined) this.forgetWorker(oldest);
  }

  /** @param prompts that a worker wanted to know, and those of them that it had read lately */
  notePrompts(preset: string, { read, known }: { readonly read: number; readonly known: number }): void {
    const labels = { pool: this.pool, preset };
    this.promptReads.inc({ ...labels, cached: "false" }, read);
    this.promptReads.inc({ ...labels, cached: "true" }, known);
  }

  private forgetWorker(worker: string): void {
    for (const preset of this.presets.get(worker) ?? []) {
      for (const counter of [this.steps, this.stepSeconds]) counter.remove({ pool: this.pool, preset, worker });
    }
    this.presets.delete(worker);
  }

  private counter<Label extends string>(name: string, labelNames: readonly Label[]): Counter<Label> {
    return new Counter({ name, help: HELP, labelNames, registers: [this.registry] });
  }

  private gauge<Label extends string>(name: string, labelNames: readonly Label[]): Gauge<Label> {
    return new Gauge({ name, help: HELP, labelNames, registers: [this.registry] });
  }

  private histogram<Label extends string>(
    name: string,
    labelNames: readonly Label[],
    buckets: number[],
  ): Histogram<Label> {
    return new Histogram({ name, help: HELP, labelNames, buckets, registers: [this.registry] });
  }
}

const HELP = "docs/operations.md tells what it is.";

/** @returns seconds since then, of a performance.now() */
export const secondsSince = (startedAt: number): number => (performance.now() - startedAt) / 1000;
