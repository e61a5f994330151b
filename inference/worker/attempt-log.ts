/** What the log tells of an attempt: that it began to compute, and how it ended. */
import { ServerError, Status } from "nice-grpc";
import type { RunEvent } from "./compute-protocol.ts";
import type { Logger } from "./log.ts";

export class AttemptLog {
  private readonly arrivedAt = performance.now();
  private startedAt: number | undefined;
  private stepsDone = 0;
  private outcome = "cancelled"; // unless something else is heard of it

  /** @param facts its lease above all, under which the server's log has the rest */
  constructor(
    private readonly logger: Logger,
    private readonly facts: object,
  ) {}

  note(event: RunEvent): void {
    switch (event.kind) {
      case "started": {
        const { stepsDone, totalSteps, groupSize } = event;
        this.startedAt = performance.now();
        this.stepsDone = stepsDone;
        const waitedMs = Math.round(this.startedAt - this.arrivedAt);
        this.logger.info({ ...this.facts, stepsDone, totalSteps, groupSize, waitedMs }, "attempt started");
        return;
      }
      case "frame":
        this.stepsDone = event.stepsDone;
        return;
      case "done":
      case "yielded":
        this.outcome = event.kind;
    }
  }

  /** What is wrong with a request may say what was asked for: its code is told, and no words. */
  fail(error: unknown): void {
    const code = error instanceof ServerError ? error.code : undefined;
    if (code === Status.CANCELLED) return;
    this.outcome = code === undefined ? "failed" : (Status[code] ?? "failed").toLowerCase();
    if (code === undefined || code === Status.INTERNAL || code === Status.UNAVAILABLE)
      this.logger.error({ ...this.facts, err: error }, "attempt failed");
  }

  end(): void {
    const { outcome, stepsDone, startedAt, facts } = this;
    const ms = startedAt === undefined ? 0 : Math.round(performance.now() - startedAt);
    this.logger.info({ ...facts, outcome, stepsDone, ms }, "attempt ended");
  }
}
