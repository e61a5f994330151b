import { expect } from "vitest";
import type { Database } from "../../src/platform/database.ts";

interface Sums {
  readonly tenant: string;
  readonly balance: bigint;
  readonly entries: bigint;
  readonly held: bigint;
  readonly entriesHeld: bigint;
  readonly reserved: bigint;
}

/** The invariants of the credits, for every tenant; and no open reservation of a generation that has ended. */
export async function expectBalancedLedger(db: Database): Promise<void> {
  await db.transaction(async (tx) => {
    const sums = await tx.$queryRaw<Sums[]>`
      select t.id as tenant, l.max - l.used as balance, l.held,
        coalesce((select sum(credits) from ledger_entry e where e.tenant_id = t.id), 0)::bigint as entries,
        coalesce((select sum(held) from ledger_entry e where e.tenant_id = t.id), 0)::bigint as "entriesHeld",
        coalesce((select sum(credits) from reservation r where r.tenant_id = t.id and r.ended_at is null), 0)::bigint as reserved
      from tenant t join limits l on l.tenant_id = t.id`;
    for (const { tenant, balance, entries, held, entriesHeld, reserved } of sums) {
      expect({ tenant, entries, entriesHeld, reserved }).toEqual({
        tenant,
        entries: balance,
        entriesHeld: held,
        reserved: held,
      });
    }
    const leaked = await tx.$queryRaw<unknown[]>`
      select r.generation_id from reservation r join generation g on g.id = r.generation_id
      where (r.ended_at is null) <> (g.state in ('QUEUED', 'RUNNING'))`;
    expect(leaked).toEqual([]);
  });
}
