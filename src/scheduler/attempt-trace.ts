/** Attempts as spans of their generation's trace, which whoever runs them continues, whatever became of those before. */
import { asDispatcher } from "../platform/access.ts";
import type { Database } from "../platform/database.ts";
import type { Logger } from "../platform/logger.ts";
import { beginSpan, contextOf, inSpan, isTracing, NOBODY, type Span, SpanKind, within } from "../platform/tracing.ts";
import { findTracedAttempt, type TracedAttempt } from "./trace.store.ts";

interface AttemptSubject {
  readonly generationId: string;
  readonly leaseId: string;
}

interface TraceServices {
  readonly db: Database;
  readonly logger: Logger;
}

/** Runs an attempt that was claimed a moment ago, as a span behind that of its wait. */
export async function inAttemptSpan(
  services: TraceServices,
  subject: AttemptSubject,
  run: () => Promise<void>,
): Promise<void> {
  const attempt = await find(services, subject);
  if (attempt === undefined) return within(NOBODY, run);
  const { queuedAt, claimedAt } = attempt;
  const [wait] = beginSpan("wait for worker", { ...startOf(attempt, subject), startTime: queuedAt });
  wait.end(Math.max(queuedAt, claimedAt));
  return inSpan("attempt", { ...startOf(attempt, subject), kind: SpanKind.CONSUMER }, run);
}

/** Ends an attempt that another process ran, which cannot tell of it any more. */
export async function inOrphanSpan<Result>(
  services: TraceServices,
  subject: AttemptSubject,
  end: () => Promise<Result>,
): Promise<Result> {
  const attempt = await find(services, subject);
  if (attempt === undefined) return end();
  const start = { ...startOf(attempt, subject), kind: SpanKind.CONSUMER, startTime: attempt.claimedAt };
  return inSpan("attempt", start, (_span: Span) => end());
}

/** An attempt runs, whether there is a trace of it or not. */
async function find(
  { db, logger }: TraceServices,
  { leaseId, generationId }: AttemptSubject,
): Promise<TracedAttempt | undefined> {
  if (!isTracing()) return undefined;
  return db
    .transaction(asDispatcher, (tx) => findTracedAttempt(tx, leaseId))
    .catch((error: unknown) => {
      logger.warn({ generationId, leaseId, err: error }, "attempt could not be traced");
      return undefined;
    });
}

const startOf = (
  { traceparent, tenantId, preset, number, worker }: TracedAttempt,
  { generationId, leaseId }: AttemptSubject,
) => ({
  parent: traceparent === null ? NOBODY : contextOf({ traceparent }),
  attributes: {
    "atelier.generation.id": generationId,
    "atelier.tenant.id": tenantId,
    "atelier.preset": preset,
    "atelier.attempt.number": number,
    "atelier.lease.id": leaseId,
    "atelier.worker": worker,
  },
});
