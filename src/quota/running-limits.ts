/** Limits of what runs, for many that are to start at once: locked together, then asked one after the other. */
import { NIL } from "uuid";
import type { LimitLevel } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import type { Payer } from "./limit.store.ts";

interface RunningLimit {
  readonly tenantId: string;
  readonly level: LimitLevel;
  readonly subjectId: string;
  readonly max: bigint;
  held: bigint;
}

export class RunningLimits {
  private readonly bySubject: ReadonlyMap<string, RunningLimit>;

  constructor(limits: readonly RunningLimit[]) {
    this.bySubject = new Map(limits.map((limit) => [`${limit.level} ${limit.subjectId} ${limit.tenantId}`, limit]));
  }

  /**
   * Locks them until the transaction ends, in the order in which everybody locks limits, and those of what is queued with
   * them: what starts is counted in both.
   */
  static async lock(tx: Tx, payers: readonly Payer[]): Promise<RunningLimits> {
    const locked = await tx.$queryRaw<(RunningLimit & { kind: string })[]>`
      with of as (
        select * from unnest(${payers.map(({ tenantId }) => tenantId)}::uuid[], ${payers.map(({ userId }) => userId)}::uuid[],
          ${payers.map(({ apiKeyId }) => apiKeyId ?? NIL)}::uuid[]) as c (tenant_id, user_id, api_key_id)
      )
      select l.tenant_id as "tenantId", l.level, l.subject_id as "subjectId", l.kind, l.max, l.held from limits l
      where l.kind in ('RUNNING', 'QUEUED') and (l.tenant_id, l.level, l.subject_id) in (
        select '00000000-0000-0000-0000-000000000000'::uuid, 'PLATFORM'::limit_level, '00000000-0000-0000-0000-000000000000'::uuid
        union select tenant_id, 'TENANT', tenant_id from of union select tenant_id, 'MEMBER', user_id from of union select tenant_id, 'API_KEY', api_key_id from of
      )
      order by l.kind, l.level, l.tenant_id, l.subject_id for update`;
    return new RunningLimits(locked.filter(({ kind }) => kind === "RUNNING"));
  }

  /** Counts one more of the payer's as running, if every limit has room. @returns whether it was counted */
  take({ tenantId, userId, apiKeyId }: Payer): boolean {
    const limits = [
      `PLATFORM ${NIL} ${NIL}`,
      `TENANT ${tenantId} ${tenantId}`,
      `MEMBER ${userId} ${tenantId}`,
      `API_KEY ${apiKeyId} ${tenantId}`,
    ].flatMap((subject) => this.bySubject.get(subject) ?? []);
    if (limits.some(({ held, max }) => held >= max)) return false;
    for (const limit of limits) limit.held++;
    return true;
  }
}
