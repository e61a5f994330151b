/**
 * Runs something again and again: at an interval, and at once when triggered. Never twice at the same time, nor as part of
 * the trace of whoever triggered it.
 */
import type { Logger } from "./logger.ts";
import { type Metrics, secondsSince } from "./metrics.ts";
import { Seldom } from "./seldom.ts";
import { NOBODY, within } from "./tracing.ts";

export interface TickerOptions {
  readonly name: string;
  readonly intervalMs: number;
  readonly runOnce: () => Promise<unknown>;
  readonly logger: Logger;
  /** Where runs are told; what a run resolves to is how much it did, if it is a number. */
  readonly metrics?: Metrics;
}

export class Ticker {
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> | undefined;
  private isDue = false;
  private isStopped = false;
  private readonly failures = new Seldom();

  constructor(private readonly options: TickerOptions) {
    const { metrics, name: duty } = options;
    metrics?.dutySeconds.zero({ duty, outcome: "failed" }); // so that the first failure is seen as an increase
  }

  start(): void {
    this.trigger();
  }

  /** Runs now, or once more when it is running already. */
  trigger(): void {
    if (this.isStopped) return;
    this.isDue = true;
    this.running ??= within(NOBODY, () => this.run());
  }

  /** Resolves when nothing runs any more. */
  async stop(): Promise<void> {
    this.isStopped = true;
    clearTimeout(this.timer);
    await this.running;
  }

  private async run(): Promise<void> {
    const { name, intervalMs, runOnce, logger, metrics } = this.options;
    clearTimeout(this.timer);
    while (this.isDue && !this.isStopped) {
      this.isDue = false;
      const startedAt = performance.now();
      try {
        const done = await runOnce();
        this.failures.forget();
        metrics?.dutySeconds.observe({ duty: name, outcome: "done" }, secondsSince(startedAt));
        if (typeof done === "number") metrics?.dutyItems.inc({ duty: name }, done);
      } catch (error) {
        metrics?.dutySeconds.observe({ duty: name, outcome: "failed" }, secondsSince(startedAt));
        const isNews = this.failures.isDue(error instanceof Error ? error.message : "");
        logger[isNews ? "error" : "debug"]({ duty: name, err: error }, "duty failed");
      }
    }
    this.running = undefined;
    if (!this.isStopped) this.timer = setTimeout(() => this.trigger(), intervalMs).unref();
  }
}
