/** Generations that come in together, with all that belongs to them. */
import type { Generation as GenerationRow } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";
import type { Demand } from "../quota/demand.ts";
import { type LimitRow, toJson } from "../quota/limit.store.ts";
import { ASKED_COLUMNS, reserving, toAsked } from "../quota/quota.store.ts";
import type { NewGeneration } from "./generation.store.ts";
import type { IdempotencyUse } from "./idempotency.store.ts";
import { totalStepsOf } from "./settings.ts";

/** A generation that is to be queued under an idempotency key. */
export interface Candidate {
  readonly generation: NewGeneration;
  readonly use: IdempotencyUse;
  readonly demand: Demand;
}

/**
 * What became of a candidate. `refusing`: these limits have no room for it; only its idempotency record was written, to be
 * deleted with `deleteUses`. `isKnown`: its key was used before, and nothing was written.
 */
export type Intake =
  | { readonly row: GenerationRow }
  | { readonly refusing: readonly LimitRow[] }
  | { readonly isKnown: true };

type IntakeRow = { readonly index: number } & (
  | { readonly createdAt: Date; readonly deadlineAt: Date | null }
  | ({ readonly createdAt: null } & ({ readonly level: null } | LimitRow))
);

/**
 * Takes in candidates of one tenant, in their order: each has its idempotency record, its first milestone, its reservation and
 * its ledger entry, or is refused alone. A twin of a key that is under way elsewhere makes this wait; that comes first, and
 * the limits are locked after it, until the transaction ends. No key may be there twice.
 */
export async function takeIn(tx: Tx, tenantId: string, candidates: readonly Candidate[]): Promise<readonly Intake[]> {
  const rows = await tx.$queryRaw<IntakeRow[]>`
    with candidate as materialized (
      select * from jsonb_to_recordset(${toJson(candidates.map(toItem))}::jsonb) as c (${ASKED_COLUMNS},
        field text, key text, body_hash text,
        pool text, preset text, priority priority, task task_kind, settings jsonb, total_steps integer, deadline_ms float8, parent_id uuid,
        traceparent text)
    ), used as (
      insert into idempotency_record (tenant_id, user_id, field, key, body_hash, created_id)
      select ${tenantId}::uuid, user_id, field, key, body_hash, generation_id from candidate order by user_id, field, key
      on conflict do nothing
      returning created_id
    ), asked as (
      select candidate.* from candidate join used on created_id = generation_id
    ), ${reserving(tenantId, "generation queued")}, queued as (
      insert into generation (id, tenant_id, user_id, api_key_id, pool, preset, priority, task, settings, total_steps, deadline_at, parent_id, traceparent,
        milestone_seq)
      select generation_id, ${tenantId}::uuid, user_id, api_key_id, pool, preset, priority, task, settings, total_steps,
        now() + make_interval(secs => deadline_ms / 1000), parent_id, traceparent, 1
      from admitted
      returning id, created_at, deadline_at
    ), told as (
      insert into milestone (generation_id, tenant_id, seq, kind, attempt, state)
      select generation_id, ${tenantId}::uuid, 1, 'QUEUED', 0, 'QUEUED' from admitted
    )
    select candidate.place as index, created_at as "createdAt", deadline_at as "deadlineAt", refusal.*
    from candidate left join queued on id = generation_id left join refusal on refusal.place = candidate.place`;
  const taken = candidates.map((): Intake => ({ isKnown: true }));
  for (const row of rows) {
    const candidate = candidates[row.index];
    const earlier = taken[row.index];
    if (candidate === undefined || earlier === undefined) continue;
    if (row.createdAt !== null) taken[row.index] = { row: toRow(candidate.generation, row) };
    else if (row.level !== null)
      taken[row.index] = { refusing: "refusing" in earlier ? [...earlier.refusing, row] : [row] };
  }
  return taken;
}

const toItem = ({ generation, use, demand }: Candidate, place: number) => ({
  ...toAsked({ place, payer: generation, subject: { generationId: generation.id }, demand }),
  field: use.field,
  key: use.key,
  body_hash: use.bodyHash,
  pool: generation.pool,
  preset: generation.preset,
  priority: generation.priority,
  task: generation.task.kind,
  settings: generation.task.settings,
  total_steps: totalStepsOf(generation.task),
  deadline_ms: generation.deadlineMs,
  parent_id: generation.parentId,
  traceparent: generation.traceparent,
});

/** As it is stored when it was just queued. */
const toRow = (
  { task, deadlineMs: _, ...generation }: NewGeneration,
  stored: Pick<GenerationRow, "createdAt" | "deadlineAt">,
): GenerationRow => ({
  ...generation,
  createdAt: stored.createdAt,
  deadlineAt: stored.deadlineAt,
  task: task.kind,
  settings: task.settings,
  totalSteps: totalStepsOf(task),
  state: "QUEUED",
  isDeadLetter: false,
  milestoneSeq: 1,
  attempt: 0,
  failedAttempts: 0,
  suspicion: null,
  parked: false,
  startedAt: null,
  finishedAt: null,
  notBefore: null,
  cancelRequestedAt: null,
  leaseId: null,
  leaseHolder: null,
  leaseExpiresAt: null,
  failureCode: null,
  failureMessage: null,
  recipe: null,
  answer: null,
  batchId: null,
  batchIndex: null,
  deletedAt: null,
  textsDeletedAt: null,
  prunedAt: null,
});
