import type { Milestone } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";

export type { Milestone };

/** In order. Of a generation whose milestones were deleted long after its end, the last one, as its own row tells it. */
export async function listMilestones(tx: Tx, generationId: string, afterSeq: number): Promise<readonly Milestone[]> {
  const stored = await tx.milestone.findMany({
    where: { generationId, seq: { gt: afterSeq } },
    orderBy: { seq: "asc" },
  });
  return stored.length > 0 ? stored : listEnd(tx, generationId, afterSeq);
}

async function listEnd(tx: Tx, generationId: string, afterSeq: number): Promise<readonly Milestone[]> {
  return tx.$queryRaw<Milestone[]>`
    select id as "generationId", milestone_seq as seq, tenant_id as "tenantId", 'FINISHED' as kind, attempt, state, failure_message as message,
      null as "failureCode", false as "willRetry", finished_at as at
    from generation where id = ${generationId}::uuid and pruned_at is not null and milestone_seq > ${afterSeq}::int`;
}

/** The newest `seq` of each generation. */
export async function newestSeqs(tx: Tx, generationIds: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.generation.findMany({
    where: { id: { in: [...generationIds] } },
    select: { id: true, milestoneSeq: true },
  });
  return new Map(rows.map(({ id, milestoneSeq }) => [id, milestoneSeq]));
}
