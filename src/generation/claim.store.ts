/** Claims: QUEUED -> RUNNING for many generations at once, each under a lease of its own, as far as limits let them run. */
import { NIL } from "uuid";
import type { Tx } from "../platform/database.ts";
import { invariant } from "../platform/errors.ts";
import type { Payer } from "../quota/limit.store.ts";
import { RunningLimits } from "../quota/running-limits.ts";
import { mayFollow } from "./generation.state.ts";

/** A generation that is to start on a worker. */
export interface Claim {
  readonly generationId: string;
  readonly payer: Payer;
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

/**
 * A new attempt of each, in this order as far as limits have room. Limits are locked first here, and generations that somebody
 * else has locked are passed over: nobody can wait for this one and be waited for.
 *
 * @returns an outcome for each
 */
export async function claimAll(tx: Tx, claimant: Claimant, claims: readonly Claim[]): Promise<readonly ClaimOutcome[]> {
  if (claims.length === 0) return [];
  const limits = await RunningLimits.lock(
    tx,
    claims.map(({ payer }) => payer),
  );
  const admitted = new Set(claims.filter(({ payer }) => limits.take(payer)));
  const started = new Map((await startAll(tx, claimant, [...admitted])).map((row) => [row.id, row]));
  return claims.map((claim) =>
    admitted.has(claim) ? (started.get(claim.generationId) ?? "GONE") : ("LIMITED" satisfies ClaimOutcome),
  );
}

async function startAll(
  tx: Tx,
  { holder, leaseSeconds }: Claimant,
  claims: readonly Claim[],
): Promise<readonly StartedRow[]> {
  invariant(mayFollow("QUEUED", "RUNNING"), "what is queued may start");
  if (claims.length === 0) return [];
  return tx.$queryRaw<StartedRow[]>`
    with asked as (
      select * from unnest(${claims.map(({ generationId }) => generationId)}::uuid[], ${claims.map(({ leaseId }) => leaseId)}::uuid[],
        ${claims.map(({ worker }) => worker)}::text[], ${claims.map(({ predictedMs }) => predictedMs)}::float8[], ${claims.map(({ share }) => share)}::float8[])
        as c (id, lease_id, worker, predicted_ms, share)
    ), free as materialized (
      select id from generation
      where id = any(${claims.map(({ generationId }) => generationId)}::uuid[]) and state = 'QUEUED' and not parked
        and (deadline_at is null or deadline_at > now()) and (not_before is null or not_before <= now())
        and tenant_id <> all(array(select id from tenant where suspended_at is not null))
      for update skip locked
    ), started as (
      update generation g set state = 'RUNNING', milestone_seq = g.milestone_seq + 1, attempt = g.attempt + 1,
        started_at = coalesce(g.started_at, now()), lease_id = asked.lease_id, lease_holder = ${holder}::uuid,
        lease_expires_at = now() + make_interval(secs => ${leaseSeconds})
      from free join asked using (id) where g.id = free.id
      returning g.id, g.tenant_id, g.user_id, g.api_key_id, g.attempt, g.milestone_seq, g.lease_id, asked.worker, asked.predicted_ms, asked.share
    ), noted as (
      insert into milestone (generation_id, tenant_id, seq, kind, attempt, state)
      select id, tenant_id, milestone_seq, 'STARTED', attempt, 'RUNNING' from started
    ), begun as (
      insert into attempt (generation_id, tenant_id, number, lease_id, worker, predicted_ms, share)
      select id, tenant_id, attempt, lease_id, worker, predicted_ms, share from started
    ), counted as (
      update limits l set held = greatest(l.held + change.count, 0)
      from (
        select subject.*, kind::limit_kind, sum(one) as count from started
          cross join lateral (values (${NIL}::uuid, 'PLATFORM'::limit_level, ${NIL}::uuid), (tenant_id, 'TENANT', tenant_id),
            (tenant_id, 'MEMBER', user_id), (tenant_id, 'API_KEY', api_key_id)) as subject (of_tenant, level, subject_id)
          cross join (values ('RUNNING', 1), ('QUEUED', -1)) as counter (kind, one)
        group by of_tenant, level, subject_id, kind
      ) as change
      where l.tenant_id = change.of_tenant and l.level = change.level and l.subject_id = change.subject_id and l.kind = change.kind
    )
    select id, tenant_id as "tenantId", attempt, milestone_seq as "milestoneSeq" from started`;
}
