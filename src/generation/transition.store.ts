/**
 * Changes of a generation's state, but for claims (claim.store.ts): one conditional statement that changes the row, numbers and writes the milestone
 * under the row's lock, and ends or begins the attempt. No row back means that the condition did not hold.
 */

import { Prisma } from "../generated/prisma/client.ts";
import {
  type AttemptOutcome,
  type FailureClass,
  type GenerationState,
  MilestoneKind,
  type TaskKind,
} from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";
import { isTerminal, mayFollow } from "./generation.state.ts";

/** The row after the change, as far as anyone needs it. */
export interface TransitionedRow {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly state: GenerationState;
  readonly attempt: number;
  readonly milestoneSeq: number;
  readonly task: TaskKind;
  readonly settings: unknown;
  /** The batch whose item it is. */
  readonly batchId: string | null;
}

/** Only the attempt that holds this lease may make the change. */
export interface Fence {
  readonly generationId: string;
  readonly leaseId: string;
  /** The lease must have run out, too. */
  readonly hasExpired?: boolean;
  /** Milliseconds for which the attempt waited on standby. */
  readonly standbyMs?: number;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

export interface AttemptEnd {
  readonly outcome: AttemptOutcome;
  /** Of an attempt that failed, was returned or orphaned. */
  readonly failureClass?: FailureClass;
  readonly message?: string | undefined;
  readonly stepsDone: number;
}

interface NewMilestone {
  readonly kind: MilestoneKind;
  readonly message?: string | undefined;
  readonly failureCode?: string | undefined;
  readonly willRetry?: boolean;
}

interface Change {
  readonly from: GenerationState;
  readonly to: GenerationState;
  readonly condition: Prisma.Sql;
  readonly set: readonly Prisma.Sql[];
  /** In their order. */
  readonly milestones: readonly NewMilestone[];
  /** How the counters of limits follow. What waits is counted as open: until it ends. */
  readonly counters?: { readonly running?: -1; readonly open?: -1; readonly storedBytes?: number };
}

async function transition(tx: Tx, change: Change): Promise<TransitionedRow | undefined> {
  const { from, to, condition, milestones } = change;
  invariant(mayFollow(from, to), `${from} -> ${to} is no transition of a generation`);
  const set = [
    Prisma.sql`state = ${to}::generation_state`,
    Prisma.sql`milestone_seq = milestone_seq + ${milestones.length}::int`,
    ...(isTerminal(to) ? [Prisma.sql`finished_at = now()`] : []),
    ...change.set,
  ];
  const [row] = await tx.$queryRaw<TransitionedRow[]>`
    with changed as (
      update generation set ${Prisma.join(set, ", ")}
      where state = ${from}::generation_state and ${condition}
      returning *
    ), noted as (
      insert into milestone (generation_id, tenant_id, seq, kind, attempt, state, message, failure_code, will_retry)
      select id, tenant_id, milestone_seq - ${milestones.length}::int + m.place, m.kind::milestone_kind, attempt, state, m.message, m.failure_code, m.will_retry
      from changed, (values ${Prisma.join(milestones.map(valuesOf))}) as m (place, kind, message, failure_code, will_retry)
    )
    select id, tenant_id as "tenantId", user_id as "userId", api_key_id as "apiKeyId", state, attempt, milestone_seq as "milestoneSeq",
      task, settings, batch_id as "batchId"${counted(change.counters)}
    from changed`;
  return row;
}

const valuesOf = ({ kind, message, failureCode, willRetry }: NewMilestone, index: number): Prisma.Sql =>
  Prisma.sql`(${index + 1}::int, ${kind}::text, ${message ?? null}::text, ${failureCode ?? null}::text, ${willRetry ?? false}::boolean)`;

/** Locks the limits of what runs, is open and is stored; a change without counters has seen to them itself. */
const counted = (counters: Change["counters"]): Prisma.Sql =>
  counters === undefined
    ? Prisma.empty
    : Prisma.sql`, limits_move(tenant_id, user_id, api_key_id, ${counters.running ?? 0}::int, ${counters.open ?? 0}::int, ${counters.storedBytes ?? 0}::bigint)::text`;

const holdsLease = ({ generationId, leaseId, hasExpired = false }: Fence): Prisma.Sql =>
  Prisma.sql`id = ${generationId}::uuid and lease_id = ${leaseId}::uuid and (not ${hasExpired} or lease_expires_at <= now())`;

/** RUNNING -> a terminal state, by the attempt that holds the lease. The failure of a last attempt has a milestone of its own. */
export async function finishRunning(
  tx: Tx,
  fence: Fence,
  end: {
    state: GenerationState;
    attempt: AttemptEnd;
    failure?: Failure | undefined;
    recipe?: object | undefined;
    answer?: string | undefined;
    /** Of its pictures. */
    storedBytes?: number;
  },
): Promise<TransitionedRow | undefined> {
  const row = await transition(tx, {
    from: "RUNNING",
    to: end.state,
    condition: holdsLease(fence),
    set: [
      Prisma.sql`failure_code = ${end.failure?.code ?? null}`,
      Prisma.sql`failure_message = ${end.failure?.message ?? null}`,
      Prisma.sql`recipe = ${end.recipe === undefined ? null : JSON.stringify(end.recipe)}::jsonb`,
      Prisma.sql`answer = ${end.answer ?? null}`,
      Prisma.sql`suspicion = null`,
    ],
    milestones: [
      ...(end.state === "DEAD_LETTERED" ? [failureOf(end.attempt, { willRetry: false })] : []),
      { kind: MilestoneKind.FINISHED, message: end.failure?.message },
    ],
    counters: { running: -1, open: -1, storedBytes: end.storedBytes ?? 0 },
  });
  if (row !== undefined) {
    await endAttempt(tx, fence, end.attempt);
    await dropCheckpoints(tx, row.id);
  }
  return row;
}

export interface Requeue {
  readonly attempt: AttemptEnd;
  /** Whether it is one of the attempts that may fail. */
  readonly counts: boolean;
  /** Not to be claimed before. */
  readonly delayMs: number;
  /** The same of all that it is suspected with; as it was unless given. */
  readonly suspicion?: string | null | undefined;
}

/** RUNNING -> QUEUED: the attempt is over, the generation is not. Nothing when it is to be cancelled. */
export async function requeue(
  tx: Tx,
  fence: Fence,
  { attempt, counts, delayMs, suspicion }: Requeue,
): Promise<TransitionedRow | undefined> {
  const isFailure = attempt.outcome === "FAILED" || attempt.outcome === "ORPHANED";
  const row = await transition(tx, {
    from: "RUNNING",
    to: "QUEUED",
    condition: Prisma.sql`${holdsLease(fence)} and cancel_requested_at is null`,
    set: [
      Prisma.sql`lease_id = null`,
      Prisma.sql`lease_holder = null`,
      Prisma.sql`lease_expires_at = null`,
      Prisma.sql`queued_xid = pg_current_xact_id()`,
      Prisma.sql`failed_attempts = failed_attempts + ${counts ? 1 : 0}::int`,
      Prisma.sql`not_before = now() + make_interval(secs => ${delayMs / 1000})`,
      ...(suspicion === undefined ? [] : [Prisma.sql`suspicion = ${suspicion}::uuid`]),
    ],
    milestones: [
      isFailure ? failureOf(attempt, { willRetry: true }) : { kind: MilestoneKind.QUEUED, message: attempt.message },
    ],
    counters: { running: -1 },
  });
  if (row !== undefined) await endAttempt(tx, fence, attempt);
  return row;
}

const failureOf = ({ message, failureClass }: AttemptEnd, { willRetry }: { willRetry: boolean }): NewMilestone => ({
  kind: MilestoneKind.ATTEMPT_FAILED,
  message,
  failureCode: failureClass,
  willRetry,
});

/** How attempts of a generation that have ended failed. */
export async function countFailures(tx: Tx, generationId: string): Promise<Partial<Record<FailureClass, number>>> {
  const rows = await tx.$queryRaw<{ failureClass: FailureClass; count: number }[]>`
    select failure_class::text as "failureClass", count(*)::int as count from attempt
    where generation_id = ${generationId}::uuid and failure_class is not null group by failure_class`;
  return Object.fromEntries(rows.map(({ failureClass, count }) => [failureClass, count]));
}

/** QUEUED -> CANCELED or EXPIRED, without an attempt. */
export async function finishQueued(
  tx: Tx,
  generationId: string,
  { state, failure }: { state: "CANCELED" | "EXPIRED"; failure?: Failure },
): Promise<TransitionedRow | undefined> {
  return transition(tx, {
    from: "QUEUED",
    to: state,
    condition: Prisma.sql`id = ${generationId}::uuid`,
    set:
      failure === undefined
        ? []
        : [Prisma.sql`failure_code = ${failure.code}`, Prisma.sql`failure_message = ${failure.message}`],
    milestones: [{ kind: MilestoneKind.FINISHED, message: failure?.message }],
    counters: { open: -1 },
  });
}

/** Their bytes are of no use once a generation has ended. */
async function dropCheckpoints(tx: Tx, generationId: string): Promise<void> {
  await tx.$executeRaw`
    update attempt set checkpoint = null where generation_id = ${generationId}::uuid and checkpoint is not null`;
}

async function endAttempt(
  tx: Tx,
  { leaseId, standbyMs = 0 }: Fence,
  { outcome, failureClass, message, stepsDone }: AttemptEnd,
): Promise<void> {
  await tx.$executeRaw`
    update attempt set ended_at = now(), outcome = ${outcome}::attempt_outcome, failure_class = ${failureClass ?? null}::failure_class,
      message = ${message ?? null}, steps_done = ${stepsDone}, standby_ms = ${Math.round(standbyMs)}
    where lease_id = ${leaseId}::uuid`;
}
