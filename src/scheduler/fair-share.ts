/** Whose turn is it? A pure decision over the heads of the queues; SQL only carries it out. */
import type { Priority } from "../generated/prisma/enums.ts";

/** A queued generation that could start now. */
export interface Candidate {
  readonly id: string;
  readonly tenantId: string;
  readonly preset: string;
  readonly priority: Priority;
  readonly createdAt: Date;
}

const RANK: Record<Priority, number> = { INTERACTIVE: 0, STANDARD: 1, BATCH: 2 };

/**
 * The generations to start, in order: by class, then first come, first served. At most one for each of `slots`, which say
 * what presets a free slot serves.
 */
export function chooseNext(
  candidates: readonly Candidate[],
  slots: readonly (readonly string[])[],
): readonly { candidate: Candidate; slot: number }[] {
  const queue = [...candidates].sort(
    (a, b) =>
      RANK[a.priority] - RANK[b.priority] || a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1),
  );
  const free = new Set(slots.keys());
  const chosen: { candidate: Candidate; slot: number }[] = [];
  for (const candidate of queue) {
    const slot = [...free].find((index) => slots[index]?.includes(candidate.preset));
    if (slot === undefined) continue;
    free.delete(slot);
    chosen.push({ candidate, slot });
  }
  return chosen;
}
