import type { Querying, Tx } from "../platform/database.ts";

export interface PoolLeaseRequest {
  readonly pool: string;
  /** The dispatcher process. */
  readonly holder: string;
  readonly seconds: number;
  /** No other process can have this database open: whoever holds the lease is gone. */
  readonly isExclusive: boolean;
}

/** Takes or extends the right to claim for a pool; false while another dispatcher holds it. */
export async function takePoolLease(
  tx: Tx,
  { pool, holder, seconds, isExclusive }: PoolLeaseRequest,
): Promise<boolean> {
  const changed = await tx.$executeRaw`
    insert into pool_lease (pool, holder, expires_at) values (${pool}, ${holder}::uuid, now() + make_interval(secs => ${seconds}))
    on conflict (pool) do update set holder = excluded.holder, expires_at = excluded.expires_at
    where pool_lease.holder = excluded.holder or pool_lease.expires_at <= now() or ${isExclusive}`;
  return changed === 1;
}

/** Whether the lease is held, judged by the database's clock. The row stays as it is until the transaction ends. */
export async function holdsPoolLease(db: Querying, pool: string, holder: string): Promise<boolean> {
  const rows = await db.$queryRaw<unknown[]>`
    select 1 from pool_lease where pool = ${pool} and holder = ${holder}::uuid and expires_at > now() for share`;
  return rows.length === 1;
}

export async function dropPoolLease(tx: Tx, pool: string, holder: string): Promise<void> {
  await tx.poolLease.deleteMany({ where: { pool, holder } });
}
