import { NIL } from "uuid";
import type { ModerationLevel } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { type Policy, parseChecks, type StoredCheck } from "./policy.ts";

/** Whose list it is. */
export interface PolicyKey {
  /** The nil id for all tenants. */
  readonly tenantId: string;
  readonly level: ModerationLevel;
}

/** The lists that concern a tenant, in the order in which they are asked. */
export const keysOf = (tenantId: string): readonly PolicyKey[] => [
  { tenantId: NIL, level: "PLATFORM" },
  { tenantId, level: "ASSIGNED" },
  { tenantId, level: "TENANT" },
];

/** Without a row, nothing was set yet. */
export async function getPolicy(tx: Tx, { tenantId, level }: PolicyKey): Promise<Policy> {
  const row = await tx.moderationPolicy.findUnique({ where: { tenantId_level: { tenantId, level } } });
  return row === null
    ? { tenantId, level, checks: [], version: 0 }
    : { tenantId, level, checks: parseChecks(row.checks), version: row.version };
}

/** The list as it stands; until the transaction ends nobody changes it, or makes the first one. */
export async function lockPolicy(tx: Tx, key: PolicyKey): Promise<Policy> {
  const { tenantId, level } = key;
  await tx.$executeRaw`
    insert into moderation_policy (tenant_id, level, checks, version) values (${tenantId}::uuid, ${level}::moderation_level, '[]', 0)
    on conflict do nothing`;
  await tx.$queryRaw`
    select 1 from moderation_policy where tenant_id = ${tenantId}::uuid and level = ${level}::moderation_level for update`;
  return getPolicy(tx, key);
}

/** Of a list that is locked. */
export async function savePolicy(tx: Tx, key: PolicyKey, checks: readonly StoredCheck[]): Promise<Policy> {
  const { tenantId, level } = key;
  await tx.$executeRaw`
    update moderation_policy set checks = ${JSON.stringify(checks)}::jsonb, version = version + 1, changed_at = now()
    where tenant_id = ${tenantId}::uuid and level = ${level}::moderation_level`;
  return getPolicy(tx, key);
}

export interface ChangedPolicy extends PolicyKey {
  readonly version: number;
  readonly changedAt: Date;
}

/** Lists that were set after a time. */
export async function listChanged(tx: Tx, since: Date): Promise<readonly ChangedPolicy[]> {
  return tx.$queryRaw<ChangedPolicy[]>`
    select tenant_id as "tenantId", level, version, changed_at as "changedAt" from moderation_policy
    where changed_at > ${since} order by changed_at`;
}
