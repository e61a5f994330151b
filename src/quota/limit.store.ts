/** Limits and their counters. The functions of migration 0010 lock and count them, all in one order: by kind, then by level. */
import { NIL } from "uuid";
import { Prisma } from "../generated/prisma/client.ts";
import type { LimitKind, LimitLevel, LimitWindow } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";

/** Whose limits something counts against: the member's and key's that asked for it, their tenant's, and the platform's. */
export interface Payer {
  readonly tenantId: string;
  readonly userId: string;
  /** Null for a person who signed in. */
  readonly apiKeyId: string | null;
}

export interface LimitKey {
  /** The nil id for the platform. */
  readonly tenantId: string;
  readonly level: LimitLevel;
  readonly subjectId: string;
  readonly kind: LimitKind;
  readonly window: LimitWindow;
}

/** A limit as it stands. */
export interface LimitRow extends LimitKey {
  readonly isRolling: boolean;
  readonly max: bigint;
  readonly used: bigint;
  readonly held: bigint;
  /** Of a rolling window: of its newest bucket. */
  readonly windowStart: Date;
  /** Of a rolling window: 13, the newest last. */
  readonly buckets: readonly bigint[] | null;
  /** Counts the changes by people. */
  readonly version: number;
  /** By the database's clock. */
  readonly now: Date;
}

const COLUMNS = Prisma.sql`tenant_id as "tenantId", level, subject_id as "subjectId", kind, "window", is_rolling as "isRolling",
  max, used, held, window_start as "windowStart", buckets, version, clock_timestamp() as now`;

/** The balance of a tenant is its limit of credits in total. */
export const balanceKey = (tenantId: string) =>
  ({ tenantId, level: "TENANT", subjectId: tenantId, kind: "CREDITS", window: "TOTAL" }) as const satisfies LimitKey;

export const platformKey = { tenantId: NIL, level: "PLATFORM", subjectId: NIL } as const;

/** A limit that refuses one of several that ask. */
export interface RefusingRow extends LimitRow {
  readonly place: number;
}

/**
 * Part of a statement that has `asked` (place, user_id, api_key_id, amounts): the limits that refuse, by place. What none
 * refuses is counted. Locks limits until the transaction ends.
 */
export const refusalsOf = (tenantId: string): Prisma.Sql => Prisma.sql`
  select place, refusal.* from limits_admit(${tenantId}::uuid, (
    select jsonb_agg(jsonb_build_object('place', place, 'user_id', user_id, 'api_key_id', api_key_id, 'amounts', amounts) order by place) from asked
  )) as answer, lateral (select ${COLUMNS} from (select (answer.refusing).*) as l) as refusal`;

/** Numbers of any size are text. */
export const toJson = (value: object): string =>
  JSON.stringify(value, (_, member) => (typeof member === "bigint" ? String(member) : member));

/** How many items of a batch, in this order, may be queued now; counts them. */
export async function feedLimits(
  tx: Tx,
  { tenantId, userId, apiKeyId }: Payer,
  pixels: readonly bigint[],
): Promise<number> {
  const [row] = await tx.$queryRaw<{ count: number }[]>`
    select limits_feed(${tenantId}::uuid, ${userId}::uuid, ${apiKeyId}::uuid, ${pixels.map(String)}::bigint[]) as count`;
  return row?.count ?? 0;
}

/** The limits that have no room for that much more. Locks them. */
export async function listFull(
  tx: Tx,
  { tenantId, userId, apiKeyId }: Payer,
  bytes: bigint,
): Promise<readonly LimitRow[]> {
  return tx.$queryRaw<RefusingRow[]>`
    with asked as (
      select 0 as place, ${userId}::uuid as user_id, ${apiKeyId}::uuid as api_key_id, ${toJson({ STORAGE_BYTES: bytes })}::jsonb as amounts
    ) ${refusalsOf(tenantId)}`;
}

/** By how much more, or less, a member and key store. */
export interface StoredBytes {
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly bytes: number;
}

export async function countStored(tx: Tx, tenantId: string, stored: readonly StoredBytes[]): Promise<void> {
  const rows = stored.map(({ userId, apiKeyId, bytes }) => ({ user_id: userId, api_key_id: apiKeyId, bytes }));
  await tx.$queryRaw`select limits_store(${tenantId}::uuid, ${toJson(rows)}::jsonb)::text`;
}

/** Limits as they stand: windows that have passed are empty, and what runs does not wait. */
const STANDING = Prisma.sql`(select stands.* from limits stored, limit_standing(stored, clock_timestamp()) as stands) as l`;

const isKey = ({ tenantId, level, subjectId, kind, window }: LimitKey): Prisma.Sql => Prisma.sql`
  tenant_id = ${tenantId}::uuid and level = ${level}::limit_level and subject_id = ${subjectId}::uuid
  and kind = ${kind}::limit_kind and "window" = ${window}::limit_window`;

export async function findLimit(tx: Tx, key: LimitKey): Promise<LimitRow | undefined> {
  const [row] = await tx.$queryRaw<LimitRow[]>`select ${COLUMNS} from ${STANDING} where ${isKey(key)}`;
  return row;
}

/** The limit as it stands; until the transaction ends nobody changes it. */
export async function lockLimit(tx: Tx, key: LimitKey): Promise<LimitRow | undefined> {
  await tx.$queryRaw`select 1 from limits where ${isKey(key)} for update`;
  return findLimit(tx, key);
}

/**
 * Until the transaction ends nobody counts. In this mode it waits for everybody who has only looked yet whether there is a
 * limit to count for: what they do next, this transaction would not see.
 */
async function stopCounting(tx: Tx): Promise<void> {
  await tx.$executeRaw`lock table limits in exclusive mode`;
}

/**
 * The limit as it stands before it is set; until the transaction ends nobody changes it. When it is a new one, or becomes one
 * that counts otherwise, nobody counts either: that comes first, because others hold counters while they wait for this one.
 */
export async function lockForSetting(tx: Tx, key: LimitKey, isRolling: boolean): Promise<LimitRow | undefined> {
  const found = await findLimit(tx, key);
  if (found?.isRolling !== isRolling) await stopCounting(tx);
  return lockLimit(tx, key);
}

/** Of whom limits are asked for: all of a tenant's, or those of some of its members and keys. */
export interface LimitScope {
  readonly tenantId: string;
  readonly subjectIds?: readonly string[] | undefined;
}

/** The widest level first; bounded. */
export async function listLimits(
  tx: Tx,
  { tenantId, subjectIds }: LimitScope,
  bound: number,
): Promise<readonly LimitRow[]> {
  const isAsked =
    subjectIds === undefined ? Prisma.sql`true` : Prisma.sql`subject_id = any(${[...subjectIds]}::uuid[])`;
  return tx.$queryRaw<LimitRow[]>`
    select ${COLUMNS} from ${STANDING} where tenant_id = ${tenantId}::uuid and ${isAsked}
    order by level, subject_id, kind, "window" limit ${bound}::int`;
}

export interface LimitSetting extends LimitKey {
  readonly max: bigint;
  readonly isRolling: boolean;
}

/**
 * Sets a limit. A new one counts what runs, waits, is stored or held now; what time makes free it counts from now on. Nobody
 * counts while it is made, so that none of it is missed or counted twice; one that is there already is only locked itself.
 */
export async function saveLimit(tx: Tx, { max, isRolling, ...key }: LimitSetting): Promise<void> {
  const change = () =>
    tx.$executeRaw`update limits set max = ${max}, version = version + 1 where ${isKey(key)} and is_rolling = ${isRolling}`;
  if ((await change()) === 1) return;
  await stopCounting(tx);
  if ((await change()) === 1) return; // it was made meanwhile
  const { tenantId, level, subjectId, kind, window } = key;
  await tx.$executeRaw`
    insert into limits (tenant_id, level, subject_id, kind, "window", is_rolling, max, used, held, buckets)
    values (${tenantId}::uuid, ${level}::limit_level, ${subjectId}::uuid, ${kind}::limit_kind, ${window}::limit_window, ${isRolling}, ${max},
      case ${kind} when 'STORAGE_BYTES' then ${countNow(key)} else 0 end, case ${kind} when 'STORAGE_BYTES' then 0 else ${countNow(key)} end,
      case when ${isRolling} then array_fill(0::bigint, array[13]) end)
    on conflict (tenant_id, level, subject_id, kind, "window") do update set
      is_rolling = excluded.is_rolling, max = excluded.max, used = 0, buckets = excluded.buckets, window_start = now(), version = limits.version + 1`;
}

/** What runs, is open, stored or held of a subject, counted from the rows; 0 where only time counts. */
function countNow({ level, subjectId, kind }: Pick<LimitKey, "level" | "subjectId" | "kind">): Prisma.Sql {
  const owned = {
    PLATFORM: Prisma.sql`true`,
    TENANT: Prisma.sql`o.tenant_id = ${subjectId}::uuid`,
    MEMBER: Prisma.sql`o.user_id = ${subjectId}::uuid`,
    API_KEY: Prisma.sql`o.api_key_id = ${subjectId}::uuid`,
  }[level];
  switch (kind) {
    case "RUNNING":
      return Prisma.sql`(select count(*) from generation o where o.finished_at is null and o.state = 'RUNNING' and ${owned})`;
    case "QUEUED":
      return Prisma.sql`(select count(*) from generation o where o.finished_at is null and ${owned})`;
    case "STORAGE_BYTES":
      return Prisma.sql`(select coalesce(sum(i.size_bytes), 0) from generation o join image i on i.generation_id = o.id where i.deleted_at is null and ${owned})::bigint
        + (select coalesce(sum(o.stored_bytes), 0) from upload o where ${owned})::bigint`;
    case "CREDITS":
      return Prisma.sql`(select coalesce(sum(o.credits), 0) from reservation o where o.ended_at is null and ${owned})::bigint`;
    default:
      return Prisma.sql`0`;
  }
}

export async function deleteLimit(tx: Tx, key: LimitKey): Promise<void> {
  await tx.$executeRaw`delete from limits where ${isKey(key)}`;
}

/** A counter that is not what the rows say. */
export interface WrongCounter extends LimitKey {
  readonly counted: bigint;
  readonly actual: bigint;
}

/**
 * Counts again what every limit of what runs, waits, is stored or held says, and mends those that are wrong. What counts and
 * what is counted change together, so that nothing needs to be locked to compare them; nobody counts while something is mended.
 * The balance of a tenant is not mended: it belongs to the ledger.
 */
export async function repairCounters(tx: Tx): Promise<readonly WrongCounter[]> {
  const keys = await tx.$queryRaw<LimitKey[]>`
    select tenant_id as "tenantId", level, subject_id as "subjectId", kind, "window" from limits
    where kind in ('RUNNING', 'QUEUED', 'STORAGE_BYTES', 'CREDITS') and not (level = 'TENANT' and kind = 'CREDITS' and "window" = 'TOTAL')`;
  const suspects: LimitKey[] = [];
  for (const key of keys) if ((await findWrong(tx, key)) !== undefined) suspects.push(key);
  const wrong: WrongCounter[] = [];
  if (suspects.length > 0) await stopCounting(tx);
  for (const key of suspects) {
    const counter = await findWrong(tx, key);
    if (counter === undefined) continue;
    wrong.push(counter);
    await tx.$executeRaw`update limits set ${counterOf(key)} = ${counter.actual} where ${isKey(key)}`;
  }
  return wrong;
}

const counterOf = ({ kind }: LimitKey): Prisma.Sql => (kind === "STORAGE_BYTES" ? Prisma.sql`used` : Prisma.sql`held`);

/** One statement sees a limit and what it counts as of the same moment. */
async function findWrong(tx: Tx, key: LimitKey): Promise<WrongCounter | undefined> {
  const [row] = await tx.$queryRaw<{ counted: bigint; actual: bigint }[]>`
    select * from (select ${counterOf(key)} as counted, ${countNow(key)} as actual from limits where ${isKey(key)}) as counter
    where actual <> counted`;
  return row && { ...key, ...row };
}
