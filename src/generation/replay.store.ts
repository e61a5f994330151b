import type { Tx } from "../platform/database.ts";
import { type GenerationDetails, readGenerations } from "./generation.store.ts";

/** Of one generation. */
const SHOWN = 10;

/** Those that replay generations, newest first. */
export async function readReplays(
  tx: Tx,
  parentIds: readonly string[],
): Promise<ReadonlyMap<string, readonly GenerationDetails[]>> {
  const found = await tx.$queryRaw<{ id: string; parentId: string }[]>`
    select replay.id, parent.id as "parentId" from unnest(${[...parentIds]}::uuid[]) as parent (id) cross join lateral (
      select g.id from generation g where g.parent_id = parent.id and g.deleted_at is null order by g.id desc limit ${SHOWN}::int
    ) as replay
    order by replay.id desc`;
  const rows = await readGenerations(
    tx,
    found.map(({ id }) => id),
  );
  const replays = new Map<string, GenerationDetails[]>(parentIds.map((id) => [id, []]));
  for (const { id, parentId } of found) {
    const row = rows.get(id);
    if (row !== undefined) replays.get(parentId)?.push(row);
  }
  return replays;
}
