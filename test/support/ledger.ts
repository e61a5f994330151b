import { expect } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import type { Database } from "../../src/platform/database.ts";

interface Sums {
  readonly tenant: string;
  readonly balance: bigint;
  readonly entries: bigint;
  readonly held: bigint;
  readonly entriesHeld: bigint;
  readonly reserved: bigint;
}

/**
 * The invariants of the credits, for every tenant; no open reservation of a generation that has ended; and batches that hold
 * the prices of their waiting items, and count their ends.
 */
export async function expectBalancedLedger(db: Database): Promise<void> {
  await db.transaction(asPlatform, async (tx) => {
    const sums = await tx.$queryRaw<Sums[]>`
      select t.id as tenant, l.max - l.used as balance, l.held,
        coalesce((select sum(credits) from ledger_entry e where e.tenant_id = t.id), 0)::bigint as entries,
        coalesce((select sum(held) from ledger_entry e where e.tenant_id = t.id), 0)::bigint as "entriesHeld",
        coalesce((select sum(credits) from reservation r where r.tenant_id = t.id and r.ended_at is null), 0)::bigint as reserved
      from tenant t join limits l on l.tenant_id = t.id and l.level = 'TENANT' and l.kind = 'CREDITS' and l."window" = 'TOTAL'`;
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
    const wrong = await tx.$queryRaw<unknown[]>`
      select b.*, waiting.held, waiting.prices, ends.* from batch b,
      lateral (
        select
          coalesce((select sum(credits) from reservation r where r.batch_id = b.id and r.generation_id is null and r.ended_at is null), 0) as held,
          coalesce((select sum(credits) from batch_item i where i.batch_id = b.id and i.index >= b.next_index and b.cancel_requested_at is null), 0) as prices,
          (select coalesce(sum(held), 0) from ledger_entry e where e.batch_id = b.id) as entries,
          (select coalesce(sum(credits), 0) from reservation r where r.batch_id = b.id and r.ended_at is null) as open
      ) waiting,
      lateral (
        select count(*) as queued, count(distinct batch_index) as items, count(*) filter (where state = 'SUCCEEDED') as succeeded,
          count(*) filter (where state in ('FAILED', 'DEAD_LETTERED')) as failed,
          count(*) filter (where state = 'CANCELED') + case when b.cancel_requested_at is null then 0 else b.total - b.next_index end as canceled
        from generation g where g.batch_id = b.id
      ) ends
      where b.accepted_at is not null and (
        waiting.held <> waiting.prices or waiting.entries <> waiting.open
        or b.credits <> (select sum(credits) from batch_item i where i.batch_id = b.id)
        or (ends.queued, ends.items, ends.succeeded, ends.failed, ends.canceled) <> (b.next_index, b.next_index, b.succeeded, b.failed, b.canceled)
        or (b.finished_at is not null) <> (b.succeeded + b.failed + b.canceled = b.total)
      )`;
    expect(wrong).toEqual([]);
  });
}
