import type { Tx } from "../platform/database.ts";

/** A lease that is still ours, and what its row says about it. */
export interface ExtendedLease {
  readonly leaseId: string;
  readonly isCancelRequested: boolean;
  readonly isPastDeadline: boolean;
}

/** Extends leases in one statement. A lease that is missing from the answer is lost. */
export async function extendLeases(
  tx: Tx,
  leaseIds: readonly string[],
  seconds: number,
): Promise<readonly ExtendedLease[]> {
  return tx.$queryRaw<ExtendedLease[]>`
    update generation g set lease_expires_at = now() + make_interval(secs => ${seconds})
    from attempt a
    where a.lease_id = any(${[...leaseIds]}::uuid[]) and g.id = a.generation_id and g.lease_id = a.lease_id and g.state = 'RUNNING'
    returning g.lease_id as "leaseId", cancel_requested_at is not null as "isCancelRequested", coalesce(deadline_at <= now(), false) as "isPastDeadline"`;
}

/** Those of the leases whose generation is to be cancelled. */
export async function listCancelRequested(tx: Tx, leaseIds: readonly string[]): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ leaseId: string }[]>`
    select g.lease_id as "leaseId" from attempt a join generation g on g.id = a.generation_id and g.lease_id = a.lease_id
    where a.lease_id = any(${[...leaseIds]}::uuid[]) and g.state = 'RUNNING' and g.cancel_requested_at is not null`;
  return rows.map(({ leaseId }) => leaseId);
}

/** What is known of an attempt whose dispatcher is gone. */
export interface OrphanedLease {
  readonly generationId: string;
  readonly leaseId: string;
  /** Steps that its newest checkpoint holds. */
  readonly checkpointSteps: number;
}

/** Running generations whose lease has run out; all of them when their holder cannot be alive. */
export async function listOrphanedLeases(
  tx: Tx,
  { pool, all }: { pool: string; all: boolean },
): Promise<readonly OrphanedLease[]> {
  return tx.$queryRaw<OrphanedLease[]>`
    select g.id as "generationId", g.lease_id as "leaseId",
      coalesce((select max(of.checkpoint_steps) from attempt of where of.generation_id = g.id), 0) as "checkpointSteps"
    from attempt a join generation g on g.id = a.generation_id
    where a.ended_at is null and g.pool = ${pool} and g.state = 'RUNNING' and (${all} or g.lease_expires_at <= now())`;
}

export interface StoredCheckpoint {
  readonly stepsDone: number;
  readonly state: Uint8Array;
}

// Checkpoints travel as base64: Prisma takes bytes apart one by one, for a third of a second per MiB.

/** Keeps the newest checkpoint of a generation; false when the attempt's lease is lost. */
export async function saveCheckpoint(
  tx: Tx,
  leaseId: string,
  { stepsDone, state }: StoredCheckpoint,
): Promise<boolean> {
  const [saved] = await tx.$queryRaw<{ generationId: string; number: number }[]>`
    update attempt set checkpoint_steps = ${stepsDone}, checkpoint = decode(${toBase64(state)}, 'base64')
    where lease_id = ${leaseId}::uuid and exists (select 1 from generation g where g.lease_id = attempt.lease_id and g.state = 'RUNNING')
    returning generation_id as "generationId", number`;
  if (saved === undefined) return false;
  await tx.$executeRaw`
    update attempt set checkpoint = null
    where generation_id = ${saved.generationId}::uuid and number < ${saved.number}::int and checkpoint is not null`;
  return true;
}

/** The newest checkpoint that any attempt of a generation left. */
export async function findCheckpoint(tx: Tx, generationId: string): Promise<StoredCheckpoint | undefined> {
  const [found] = await tx.$queryRaw<{ stepsDone: number; state: string }[]>`
    select checkpoint_steps as "stepsDone", encode(checkpoint, 'base64') as state from attempt
    where generation_id = ${generationId}::uuid and checkpoint is not null
    order by number desc limit 1`;
  return found && { stepsDone: found.stepsDone, state: Buffer.from(found.state, "base64") };
}

const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** No worker takes them. */
export async function forgetCheckpoints(tx: Tx, generationId: string): Promise<void> {
  await tx.attempt.updateMany({ where: { generationId }, data: { checkpoint: null, checkpointSteps: null } });
}

/** Whether cancellation was asked for: the row alone decides what an ended call means. */
export async function isCancelRequested(tx: Tx, generationId: string): Promise<boolean> {
  const row = await tx.generation.findUniqueOrThrow({
    where: { id: generationId },
    select: { cancelRequestedAt: true },
  });
  return row.cancelRequestedAt !== null;
}

/** Leases of those of the generations that run or succeeded and are not deleted: what was stored under them is, or will be, visible. */
export async function listWinningLeases(tx: Tx, generationIds: readonly string[]): Promise<ReadonlySet<string>> {
  const rows = await tx.generation.findMany({
    where: { id: { in: [...generationIds] }, state: { in: ["RUNNING", "SUCCEEDED"] }, deletedAt: null },
    select: { leaseId: true },
  });
  return new Set(rows.flatMap(({ leaseId }) => leaseId ?? []));
}
