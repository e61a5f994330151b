import type { Tx } from "../platform/database.ts";
import type { LearnedDuration } from "./durations.ts";

/** Those that were learned last stand last. */
export async function listDurations(tx: Tx, pool: string): Promise<readonly LearnedDuration[]> {
  return tx.learnedDuration.findMany({
    where: { pool },
    select: { key: true, ms: true },
    orderBy: { learnedAt: "asc" },
  });
}

/** Those that are stored already are replaced; of more than `max` of the pool, those that were learned longest ago go. */
export async function saveDurations(
  tx: Tx,
  { pool, learned, max }: { pool: string; learned: readonly LearnedDuration[]; max: number },
): Promise<void> {
  if (learned.length === 0) return;
  await tx.$executeRaw`
    insert into learned_duration (pool, key, ms)
    select ${pool}, * from unnest(${learned.map(({ key }) => key)}::text[], ${learned.map(({ ms }) => ms)}::float8[]) as t (key, ms)
    on conflict (pool, key) do update set ms = excluded.ms, learned_at = now()`;
  await tx.$executeRaw`
    delete from learned_duration where (pool, key) in (
      select pool, key from learned_duration where pool = ${pool} order by learned_at desc, key offset ${max}::int
    )`;
}
