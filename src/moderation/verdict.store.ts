import type { ModerationVerdict as VerdictRow } from "../generated/prisma/client.ts";
import type { ModerationDecision, ModerationLevel, ModerationStage } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import type { PageRequest } from "../platform/page.ts";

export type { VerdictRow };

/** What a check decided. */
export interface Verdict {
  readonly stage: ModerationStage;
  /** Which picture. */
  readonly imageIndex: number | null;
  readonly level: ModerationLevel;
  readonly checkName: string;
  readonly decision: ModerationDecision;
  readonly category: string | null;
}

/** What verdicts are about. */
export interface Judged {
  readonly verdicts: readonly Verdict[];
  readonly tenantId: string;
  /** The member who asked. */
  readonly userId: string;
  /** Null when there is none, because the prompt was refused. */
  readonly generationId: string | null;
}

export async function insertVerdicts(tx: Tx, judged: readonly Judged[]): Promise<void> {
  const data = judged.flatMap(({ verdicts, ...subject }) =>
    verdicts.map((verdict) => ({ id: newId(), ...subject, ...verdict })),
  );
  if (data.length > 0) await tx.moderationVerdict.createMany({ data });
}

/** Of each of the generations that has any, in the order in which they were given. */
export async function readVerdicts(
  tx: Tx,
  generationIds: readonly string[],
): Promise<ReadonlyMap<string, readonly VerdictRow[]>> {
  const rows = await tx.moderationVerdict.findMany({
    where: { generationId: { in: [...generationIds] } },
    orderBy: { id: "asc" },
  });
  const byGeneration = new Map<string, VerdictRow[]>();
  for (const row of rows) {
    const key = row.generationId ?? "";
    byGeneration.set(key, [...(byGeneration.get(key) ?? []), row]);
  }
  return byGeneration;
}

/** Of a tenant, newest first. @param decisions all when there are none */
export async function listVerdicts(
  tx: Tx,
  { tenantId, decisions }: { tenantId: string; decisions: readonly ModerationDecision[] },
  { after, before, from, limit }: PageRequest,
): Promise<readonly VerdictRow[]> {
  const rows = await tx.moderationVerdict.findMany({
    where: {
      tenantId,
      ...(decisions.length === 0 ? {} : { decision: { in: [...decisions] } }),
      id: { ...(after === undefined ? {} : { lt: after }), ...(before === undefined ? {} : { gt: before }) },
    },
    orderBy: { id: from === "newest" ? "desc" : "asc" },
    take: limit,
  });
  return from === "newest" ? rows : rows.reverse();
}
