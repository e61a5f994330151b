/** Claims: QUEUED -> RUNNING for many generations at once, each under a lease of its own, as far as limits let them run. */
import { NIL } from "uuid";
import type { Querying } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";
import { mayFollow } from "./generation.state.ts";

/** A generation that is to start on a worker. */
export interface Claim {
  readonly generationId: string;
  readonly leaseId: string;
  readonly worker: string;
  /** For which it and its group are expected to hold the worker. */
  readonly predictedMs: number;
  /** Its own part of the work of its group. */
  readonly share: number;
}

/** The dispatcher process that claims. */
export interface Claimant {
  readonly holder: string;
  readonly leaseSeconds: number;
  /** Nothing starts unless it holds the lease of this pool when the statement runs. */
  readonly pool?: string;
}

/** `LIMITED`: no room in a limit of what runs. `GONE`: it does not wait any more, or somebody is changing it just now. */
export type ClaimOutcome = StartedRow | "LIMITED" | "GONE";

export interface StartedRow {
  readonly id: string;
  readonly tenantId: string;
  /** Number of the new attempt. */
  readonly attempt: number;
  readonly milestoneSeq: number;
}

/** As a generation that was asked for comes out of the statement. */
interface ClaimedRow {
  readonly id: string;
  readonly tenantId: string;
  readonly attempt: number | null;
  readonly milestoneSeq: number | null;
  readonly isLimited: boolean;
  readonly leads: boolean;
}

/**
 * A new attempt of each, as far as limits have room: one statement, as long as the number of claims makes it. Where several of
 * them meet at a limit that has room for some, some may be `GONE` that could have run: they can be claimed again.
 * Generations that somebody else has locked are passed over, and limits are locked in the order in which everybody locks
 * them: nobody can wait for this one and be waited for.
 *
 * @returns an outcome for each; undefined when the claimant does not hold the lease of the pool that it names
 */
export async function claimAll(
  db: Querying,
  { holder, leaseSeconds, pool }: Claimant,
  claims: readonly Claim[],
): Promise<readonly ClaimOutcome[] | undefined> {
  invariant(mayFollow("QUEUED", "RUNNING"), "what is queued may start");
  if (claims.length === 0) return [];
  const rows = await db.$queryRaw<ClaimedRow[]>`
    with lead as materialized (
      select 1 from pool_lease where pool = ${pool ?? null}::text and holder = ${holder}::uuid and expires_at > now() for share
    ), may as materialized (
      select exists (select from lead) or ${pool ?? null}::text is null as claim
    ), asked as materialized (
      select * from unnest(${claims.map(({ generationId }) => generationId)}::uuid[], ${claims.map(({ leaseId }) => leaseId)}::uuid[],
        ${claims.map(({ worker }) => worker)}::text[], ${claims.map(({ predictedMs }) => predictedMs)}::float8[], ${claims.map(({ share }) => share)}::float8[])
        with ordinality as c (id, lease_id, worker, predicted_ms, share, place)
      where (select claim from may)
    ), free as materialized (
      select g.tenant_id, g.user_id, g.api_key_id, a.* from asked a join generation g on g.id = a.id
      where g.state = 'QUEUED' and not g.parked
        and (g.deadline_at is null or g.deadline_at > now()) and (g.not_before is null or g.not_before <= now())
        and (select t.suspended_at from tenant t where t.id = g.tenant_id) is null
      for update of g skip locked
    ), subject as materialized (
      select f.id, s.*, row_number() over (partition by s.of_tenant, s.level, s.subject_id order by f.place) as place
      from free f cross join lateral (values (${NIL}::uuid, 'PLATFORM'::limit_level, ${NIL}::uuid), (f.tenant_id, 'TENANT', f.tenant_id),
        (f.tenant_id, 'MEMBER', f.user_id), (f.tenant_id, 'API_KEY', f.api_key_id)) as s (of_tenant, level, subject_id)
      where s.subject_id is not null
    ), locked as materialized (
      select l.tenant_id, l.level, l.subject_id, l.held, l.max, s.count
      from (select of_tenant, level, subject_id, count(*) as count from subject group by of_tenant, level, subject_id) as s
        join limits l on l.tenant_id = s.of_tenant and l.level = s.level and l.subject_id = s.subject_id
      where l.kind = 'RUNNING'
      order by l.level, l.tenant_id, l.subject_id for update of l
    ), refused as materialized (
      select s.id, bool_or(l.held >= l.max) as is_limited
      from locked l join subject s on s.of_tenant = l.tenant_id and s.level = l.level and s.subject_id = l.subject_id
      where l.held + l.count > l.max and l.held + s.place > l.max
      group by s.id
    ), left_out as materialized (
      select s.* from refused join subject s using (id)
    ), started as (
      update generation g set state = 'RUNNING', milestone_seq = g.milestone_seq + 1, attempt = g.attempt + 1,
        started_at = coalesce(g.started_at, now()), lease_id = f.lease_id, lease_holder = ${holder}::uuid,
        lease_expires_at = now() + make_interval(secs => ${leaseSeconds})
      from free f
      where g.id = f.id and f.id not in (select id from refused)
      returning g.id, g.tenant_id, g.attempt, g.milestone_seq, g.lease_id, f.worker, f.predicted_ms, f.share
    ), noted as (
      insert into milestone (generation_id, tenant_id, seq, kind, attempt, state)
      select id, tenant_id, milestone_seq, 'STARTED', attempt, 'RUNNING' from started
    ), begun as (
      insert into attempt (generation_id, tenant_id, number, lease_id, worker, predicted_ms, share)
      select id, tenant_id, attempt, lease_id, worker, predicted_ms, share from started
    ), counted as (
      update limits l set held = l.held + k.count - (
        select count(*) from left_out o where o.of_tenant = k.tenant_id and o.level = k.level and o.subject_id = k.subject_id
      )
      from locked k
      where l.tenant_id = k.tenant_id and l.level = k.level and l.subject_id = k.subject_id and l.kind = 'RUNNING'
    )
    select true as leads, id, tenant_id as "tenantId", attempt, milestone_seq as "milestoneSeq", false as "isLimited" from started
    union all select true, id, null, null, null, is_limited from refused
    union all select false, null, null, null, null, false from may where not claim`;
  if (rows.some(({ leads }) => !leads)) return undefined;
  const byId = new Map(rows.map((row) => [row.id, outcomeOf(row)]));
  return claims.map(({ generationId }) => byId.get(generationId) ?? "GONE");
}

const outcomeOf = ({ isLimited, id, tenantId, attempt, milestoneSeq }: ClaimedRow): ClaimOutcome => {
  if (attempt !== null && milestoneSeq !== null) return { id, tenantId, attempt, milestoneSeq };
  return isLimited ? "LIMITED" : "GONE";
};
