import { Prisma } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import type { PageRequest } from "../platform/page.ts";
import { type GenerationDetails, readGenerations } from "./generation.store.ts";

/** That are looked at, the newest ones of all tenants: who has to see that there are some need not know of more. */
const MAX_COUNTED = 1000;
const OPEN_DAYS = 7;

/** Those of the last week that nobody replayed. */
export async function countOpenDeadLetters(tx: Tx): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    select count(*)::int as count from (
      select id, finished_at from generation where is_dead_letter and deleted_at is null
      order by id desc limit ${MAX_COUNTED}::int
    ) as newest
    where finished_at > now() - make_interval(days => ${OPEN_DAYS}::int)
      and not exists (select 1 from generation replay where replay.parent_id = newest.id)`;
  return row?.count ?? 0;
}

/** Newest first, whichever side the page is taken from. @param tenantId of all tenants when undefined */
export async function listDeadLetters(
  tx: Tx,
  tenantId: string | undefined,
  { after, before, from, limit }: PageRequest,
): Promise<readonly GenerationDetails[]> {
  const conditions = [
    Prisma.sql`is_dead_letter and deleted_at is null`, // in the words of the index
    ...(tenantId === undefined ? [] : [Prisma.sql`tenant_id = ${tenantId}::uuid`]),
    ...(after === undefined ? [] : [Prisma.sql`id < ${after}::uuid`]),
    ...(before === undefined ? [] : [Prisma.sql`id > ${before}::uuid`]),
  ];
  const found = await tx.$queryRaw<{ id: string }[]>`
    select id from generation where ${Prisma.join(conditions, " and ")}
    order by id ${from === "newest" ? Prisma.sql`desc` : Prisma.sql`asc`} limit ${limit}::int`;
  const ids = found.map(({ id }) => id);
  const rows = await readGenerations(tx, ids);
  return (from === "newest" ? ids : ids.reverse()).flatMap((id) => rows.get(id) ?? []);
}
