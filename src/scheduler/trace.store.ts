import type { Tx } from "../platform/database.ts";

/** An attempt as traces show it. Times are milliseconds since 1970, by the database's clock. */
export interface TracedAttempt {
  /** Of its generation; null when nobody traced it when it was queued. */
  readonly traceparent: string | null;
  readonly tenantId: string;
  readonly preset: string;
  readonly number: number;
  readonly worker: string;
  /** When its generation was queued, or queued again. */
  readonly queuedAt: number;
  readonly claimedAt: number;
}

export async function findTracedAttempt(tx: Tx, leaseId: string): Promise<TracedAttempt | undefined> {
  const [row] = await tx.$queryRaw<TracedAttempt[]>`
    select g.traceparent, g.tenant_id as "tenantId", g.preset, a.number, a.worker,
      extract(epoch from coalesce((
        select p.ended_at from attempt p where p.generation_id = a.generation_id and p.number = a.number - 1
      ), g.created_at))::float8 * 1000 as "queuedAt", extract(epoch from a.started_at)::float8 * 1000 as "claimedAt"
    from attempt a join generation g on g.id = a.generation_id
    where a.lease_id = ${leaseId}::uuid`;
  return row;
}
