import type { Tx } from "../platform/database.ts";

/** Pools in which something waits. */
export async function listWaitingPools(tx: Tx): Promise<readonly string[]> {
  const rows = await tx.$queryRaw<{ name: string }[]>`
    select name from pool p
    where exists (select 1 from generation g where g.pool = p.name and g.state = 'QUEUED' and not g.parked)`;
  return rows.map(({ name }) => name);
}

/** What became of a generation so far. */
export interface Outcome {
  readonly id: string;
  /** Of the first attempt. */
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  readonly hasSucceeded: boolean;
}

export async function listOutcomes(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, Outcome>> {
  if (ids.length === 0) return new Map();
  const rows = await tx.$queryRaw<Outcome[]>`
    select id, started_at as "startedAt", finished_at as "finishedAt", state = 'SUCCEEDED' as "hasSucceeded"
    from generation where id = any(${[...ids]}::uuid[])`;
  return new Map(rows.map((row) => [row.id, row]));
}
