/**
 * The record of who changed what: one chain of entries for each tenant, and one for the platform. Every hash covers the one
 * before it, so an entry that is changed, removed or slipped in later shows. Entries can be added only, by a function of the
 * database, in the transaction of the change they tell of.
 */
import { NIL } from "uuid";
import type { Prisma } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";

/** Who acted. */
export interface Actor {
  readonly userId: string;
  readonly apiKeyId: string | null;
}

/** What an entry tells. Ids are those of the database. */
export interface AuditContent {
  readonly actor: Actor;
  /** What was done, such as "limit:set". */
  readonly action: string;
  readonly target: { readonly type: string; readonly id: string };
  /** In the words of the actor. */
  readonly reason: string | null;
  readonly before: Prisma.InputJsonObject | null;
  readonly after: Prisma.InputJsonObject | null;
}

export interface AuditRow extends AuditContent {
  readonly seq: number;
  /** ISO 8601 */
  readonly at: string;
  /** Of this entry: SHA-256 over the previous entry's hash and `text`, in hex. */
  readonly hash: string;
  /** The entry as it was hashed. */
  readonly text: string;
}

/** The chain of the platform's own changes. */
export const PLATFORM_CHAIN = NIL;

/** Locks the chain until the transaction ends: the last act of it. */
export async function appendAudit(tx: Tx, chain: string, content: AuditContent): Promise<void> {
  await tx.$queryRaw`select audit_append(${chain}::uuid, ${JSON.stringify(content)}::jsonb)`;
}

/** Tells of an administrator of the platform who read across tenants: in the tenant's chain, if it is one's, and the platform's. */
export async function appendReading(
  tx: Tx,
  chain: string,
  reading: Pick<AuditContent, "actor" | "action" | "target">,
): Promise<void> {
  const content = { ...reading, reason: null, before: null, after: null };
  if (chain !== PLATFORM_CHAIN) await appendAudit(tx, chain, content);
  await appendAudit(tx, PLATFORM_CHAIN, content);
}

/** Entries in order, after `afterSeq`. */
export async function listAudit(
  tx: Tx,
  chain: string,
  { afterSeq, limit }: { afterSeq: number; limit: number },
): Promise<readonly AuditRow[]> {
  const rows = await tx.$queryRaw<{ entry: AuditContent & { seq: number; at: string }; hash: string; text: string }[]>`
    select entry, entry::text as text, hash from audit_entry
    where tenant_id = ${chain}::uuid and seq > ${afterSeq}::int order by seq limit ${limit}::int`;
  return rows.map(({ entry, hash, text }) => ({ ...entry, hash, text }));
}

export interface ChainCheck {
  readonly entries: number;
  /** Of the newest entry; empty while there is none. Kept elsewhere, it shows that a whole chain was replaced. */
  readonly headHash: string;
  /** The first entry that does not follow from those before it. */
  readonly brokenAt: number | null;
}

/** Recomputes a chain from its first entry. */
export async function checkChain(tx: Tx, chain: string): Promise<ChainCheck> {
  const [found] = await tx.$queryRaw<ChainCheck[]>`
    with entries as (
      select seq, hash, entry, row_number() over (order by seq) as place, lag(hash, 1, '') over (order by seq) as previous
      from audit_entry where tenant_id = ${chain}::uuid
    ), head as (
      select coalesce(max(seq), 0) as seq, coalesce(max(hash), '') as hash from audit_head where tenant_id = ${chain}::uuid
    )
    select (select count(*)::int from entries) as entries, (select hash from head) as "headHash", least(
      (select min(seq) from entries where seq <> place or (entry->>'seq')::int <> seq
        or hash <> encode(sha256(convert_to(previous || entry::text, 'UTF8')), 'hex')),
      (select case when head.seq <> coalesce(max(entries.seq), 0) or head.hash <> coalesce((array_agg(entries.hash order by entries.seq desc))[1], '')
        then coalesce(max(entries.seq), 0) + 1 end from head left join entries on true group by head.seq, head.hash)
    ) as "brokenAt"`;
  return found ?? { entries: 0, headHash: "", brokenAt: null };
}
