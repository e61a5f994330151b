import type { Milestone } from "../generated/prisma/client.ts";
import type { Tx } from "../platform/database.ts";

export type { Milestone };

export async function listMilestones(tx: Tx, generationId: string, afterSeq: number): Promise<readonly Milestone[]> {
  return tx.milestone.findMany({ where: { generationId, seq: { gt: afterSeq } }, orderBy: { seq: "asc" } });
}

/** The newest `seq` of each generation. */
export async function newestSeqs(tx: Tx, generationIds: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await tx.generation.findMany({
    where: { id: { in: [...generationIds] } },
    select: { id: true, milestoneSeq: true },
  });
  return new Map(rows.map(({ id, milestoneSeq }) => [id, milestoneSeq]));
}
