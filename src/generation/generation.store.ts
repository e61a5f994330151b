import type { Generation as GenerationRow, Prisma } from "../generated/prisma/client.ts";
import type { Priority } from "../generated/prisma/enums.ts";
import type { Tx } from "../platform/database.ts";
import { newId } from "../platform/ids.ts";
import { isTerminal } from "./generation.state.ts";
import { type HistoryPage, historyQuery } from "./history.ts";
import type { Task } from "./settings.ts";

export interface NewGeneration {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly apiKeyId: string | null;
  readonly pool: string;
  readonly preset: string;
  readonly priority: Priority;
  readonly task: Task;
  /** From now; undefined for none. */
  readonly deadlineMs: number | undefined;
  /** The generation that it replays. */
  readonly parentId: string | null;
  /** Of the trace that it is part of. */
  readonly traceparent: string | null;
}

const DETAILS = {
  reservation: { select: { credits: true, settled: true } },
  attempts: { omit: { checkpoint: true }, orderBy: { number: "asc" } },
  images: { where: { deletedAt: null }, orderBy: { index: "asc" } },
} satisfies Prisma.GenerationInclude;

/** A generation with its reservation, attempts and those of its pictures that are not deleted. */
export type GenerationDetails = Prisma.GenerationGetPayload<{ include: typeof DETAILS }>;

export async function findGeneration(tx: Tx, id: string): Promise<GenerationDetails | undefined> {
  return (await tx.generation.findUnique({ where: { id, deletedAt: null }, include: DETAILS })) ?? undefined;
}

export async function readGenerations(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, GenerationDetails>> {
  const rows = await tx.generation.findMany({ where: { id: { in: [...ids] }, deletedAt: null }, include: DETAILS });
  return new Map(rows.map((row) => [row.id, row]));
}

/** For ids that are known to exist; a generation that was deleted a moment ago is one without texts. */
export async function getGeneration(tx: Tx, id: string): Promise<GenerationDetails> {
  return tx.generation.findUniqueOrThrow({ where: { id }, include: DETAILS });
}

/** Newest first, whichever side the page is taken from. */
export async function listGenerations(tx: Tx, page: HistoryPage): Promise<readonly GenerationDetails[]> {
  const { where, ...query } = historyQuery(page);
  const rows = await tx.generation.findMany({ where: { ...where, deletedAt: null }, ...query, include: DETAILS });
  return page.from === "newest" ? rows : rows.reverse();
}

/** Those of the items of a batch from `from` on, as far as they are queued and not deleted. */
export async function listItemGenerations(
  tx: Tx,
  batchId: string,
  { from, limit }: { from: number; limit: number },
): Promise<readonly GenerationDetails[]> {
  return tx.generation.findMany({
    where: { batchId, batchIndex: { gte: from, lt: from + limit }, deletedAt: null },
    include: DETAILS,
  });
}

/**
 * Until the transaction ends nobody else changes its state, nor its batch. The batch is locked before any limit, as where it
 * is fed: two transactions would wait for each other otherwise.
 */
export async function lockGeneration(tx: Tx, id: string): Promise<void> {
  await tx.$queryRaw`
    with locked as (select batch_id from generation where id = ${id}::uuid for update)
    select b.id from locked join batch b on b.id = locked.batch_id for update of b`;
}

/** Marks a running generation for cancellation; false when it is not running. */
export async function requestCancel(tx: Tx, id: string): Promise<boolean> {
  const changed = await tx.$executeRaw`
    update generation set cancel_requested_at = coalesce(cancel_requested_at, now())
    where id = ${id}::uuid and state = 'RUNNING'`;
  return changed === 1;
}

/** What a writer without luck needs to know. */
export async function findForSettlement(
  tx: Tx,
  id: string,
): Promise<{ leaseId: string | null; isTerminal: boolean; failedAttempts: number } | undefined> {
  const row = await tx.generation.findUnique({
    where: { id },
    select: { leaseId: true, state: true, failedAttempts: true },
  });
  return row === null
    ? undefined
    : { leaseId: row.leaseId, isTerminal: isTerminal(row.state), failedAttempts: row.failedAttempts };
}

export interface NewImage {
  readonly index: number;
  readonly storageKey: string;
  readonly width: number;
  readonly height: number;
  readonly mimeType: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export async function insertImages(
  tx: Tx,
  { id, tenantId }: Pick<GenerationRow, "id" | "tenantId">,
  images: readonly NewImage[],
): Promise<void> {
  await tx.image.createMany({ data: images.map((image) => ({ id: newId(), tenantId, generationId: id, ...image })) });
}
