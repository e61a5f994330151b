/** What was used, and the ledger, as they are read: by index ranges, however long the history. */
import type { LedgerEntry as LedgerRow } from "../generated/prisma/client.ts";
import { Prisma } from "../generated/prisma/client.ts";
import { LedgerKind, type TaskKind } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";

export type { LedgerRow };

export type UsageGroup = "DAY" | "MEMBER" | "API_KEY" | "TASK";

export interface UsageRange {
  readonly tenantId: string;
  /** Days (UTC) as YYYY-MM-DD, both included. */
  readonly from: string;
  readonly to: string;
  readonly userId?: string | undefined;
  readonly apiKeyId?: string | undefined;
  readonly task?: TaskKind | undefined;
}

/** Null where rows are not told apart by it. */
export interface UsageRow {
  readonly day: string | null;
  readonly userId: string | null;
  readonly apiKeyId: string | null;
  readonly task: TaskKind | null;
  readonly ended: bigint;
  readonly succeeded: bigint;
  readonly credits: bigint;
  readonly pixels: bigint;
}

const GROUPS: Record<UsageGroup, { column: string; text: string }> = {
  DAY: { column: "day", text: "day" },
  MEMBER: { column: "user_id", text: '"userId"' },
  API_KEY: { column: "api_key_id", text: '"apiKeyId"' },
  TASK: { column: "task", text: "task" },
};

/** In the order of the groups. */
export async function sumUsage(
  tx: Tx,
  { tenantId, from, to, userId, apiKeyId, task }: UsageRange,
  { groups, limit }: { groups: readonly UsageGroup[]; limit: number },
): Promise<readonly UsageRow[]> {
  const shown = (group: UsageGroup, cast: string): Prisma.Sql =>
    Prisma.raw(
      groups.includes(group)
        ? `${GROUPS[group].column}${cast} as ${GROUPS[group].text}`
        : `null as ${GROUPS[group].text}`,
    );
  const columns = groups.map((group) => GROUPS[group].column);
  const grouped =
    columns.length === 0 ? Prisma.empty : Prisma.raw(`group by ${columns.join()} order by ${columns.join()}`);
  const where = [
    Prisma.sql`tenant_id = ${tenantId}::uuid and day between ${from}::date and ${to}::date`,
    ...(userId === undefined ? [] : [Prisma.sql`user_id = ${userId}::uuid`]),
    ...(apiKeyId === undefined ? [] : [Prisma.sql`api_key_id = ${apiKeyId}::uuid`]),
    ...(task === undefined ? [] : [Prisma.sql`task = ${task}::task_kind`]),
  ];
  return tx.$queryRaw<UsageRow[]>`
    select ${shown("DAY", "::text")}, ${shown("MEMBER", "")}, ${shown("API_KEY", "")}, ${shown("TASK", "")},
      coalesce(sum(ended), 0)::bigint as ended, coalesce(sum(succeeded), 0)::bigint as succeeded,
      coalesce(sum(credits), 0)::bigint as credits, coalesce(sum(pixels), 0)::bigint as pixels
    from usage_day where ${Prisma.join(where, " and ")} ${grouped} limit ${limit}::int`;
}

export interface LedgerRange {
  readonly tenantId: string;
  /** All when empty. */
  readonly kinds: readonly LedgerKind[];
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
  readonly generationId?: string | undefined;
}

/** Entries newest first, older than `after`: of each kind as many, then the newest of all, so that rare kinds are found at once. */
export async function listLedger(
  tx: Tx,
  { tenantId, kinds, from, to, generationId }: LedgerRange,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<readonly LedgerRow[]> {
  const where = {
    tenantId,
    ...(generationId === undefined ? {} : { generationId }),
    ...(after === undefined ? {} : { id: { lt: after } }),
    at: { ...(from && { gte: from }), ...(to && { lt: to }) },
  };
  const asked = kinds.length === 0 ? Object.values(LedgerKind) : kinds;
  const rows: LedgerRow[] = [];
  for (const kind of asked) {
    rows.push(...(await tx.ledgerEntry.findMany({ where: { ...where, kind }, orderBy: { id: "desc" }, take: limit })));
  }
  return rows.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, limit);
}
