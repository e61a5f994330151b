import type { Tx } from "../platform/database.ts";
import { endReservation } from "./quota.store.ts";

/** A tenant for which an invariant of the credits does not hold. In micro-credits. */
export interface UnbalancedTenant {
  readonly tenantId: string;
  /** Granted less used. */
  readonly balance: bigint;
  /** The ledger's sum. */
  readonly entries: bigint;
  readonly held: bigint;
  /** The ledger's sum. */
  readonly entriesHeld: bigint;
  /** What open reservations hold. */
  readonly reserved: bigint;
}

/** One snapshot of everything: nothing is locked. */
export async function listUnbalanced(tx: Tx): Promise<readonly UnbalancedTenant[]> {
  return tx.$queryRaw<UnbalancedTenant[]>`
    select * from (
      select l.tenant_id as "tenantId", l.max - l.used as balance, l.held, coalesce(e.credits, 0)::bigint as entries,
        coalesce(e.held, 0)::bigint as "entriesHeld", coalesce(r.credits, 0)::bigint as reserved
      from limits l
      left join (select tenant_id, sum(credits) as credits, sum(held) as held from ledger_entry group by tenant_id) e using (tenant_id)
      left join (select tenant_id, sum(credits) as credits from reservation where ended_at is null group by tenant_id) r using (tenant_id)
      where l.level = 'TENANT' and l.kind = 'CREDITS' and l."window" = 'TOTAL'
    ) as sums where (entries, "entriesHeld", reserved) <> (balance, held, held)`;
}

/** Releases what is still held for generations that have ended; how many there were. */
export async function endLeaked(tx: Tx, limit: number): Promise<number> {
  const leaked = await tx.$queryRaw<{ id: string }[]>`
    select g.id from reservation r join generation g on g.id = r.generation_id
    where r.ended_at is null and r.expires_at <= now() and g.state not in ('QUEUED', 'RUNNING') limit ${limit}::int`;
  for (const { id } of leaked) await endReservation(tx, id, { done: 0n, whole: 1n, reason: "reservation expired" });
  return leaked.length;
}

/** Of what still waits or runs: looked at again a week later. */
export async function prolongOpen(tx: Tx): Promise<void> {
  await tx.$executeRaw`update reservation set expires_at = now() + interval '7 days' where ended_at is null and expires_at <= now()`;
}
