/** Whose turn is it? A pure decision over the heads of the queues; SQL only carries it out. */
import type { Priority } from "../generated/prisma/enums.ts";

/** A queued generation that could start now. */
export interface Candidate {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly preset: string;
  readonly priority: Priority;
  readonly createdAt: Date;
}

const RANK: Record<Priority, number> = { INTERACTIVE: 0, STANDARD: 1, BATCH: 2 };

/**
 * The generations to start, in order: by class, then first come, first served. At most one for each of `workers`, which
 * say what presets they serve.
 */
export function chooseNext<Queued extends Candidate>(
  candidates: readonly Queued[],
  workers: readonly (readonly string[])[],
): readonly { candidate: Queued; worker: number }[] {
  const queue = [...candidates].sort(
    (a, b) =>
      RANK[a.priority] - RANK[b.priority] || a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1),
  );
  const free = new Set(workers.keys());
  const chosen: { candidate: Queued; worker: number }[] = [];
  for (const candidate of queue) {
    const worker = [...free].find((index) => workers[index]?.includes(candidate.preset));
    if (worker === undefined) continue;
    free.delete(worker);
    chosen.push({ candidate, worker });
  }
  return chosen;
}
