/** Everything that a tenant has in the database, in pages, as far as it is the tenant's to see: no hashes, nothing deleted. */
import { listAudit } from "../audit/audit.store.ts";
import type { Tx } from "../platform/database.ts";
import { type IdType, toGlobalId } from "../platform/ids.ts";

/** Rows of a page: some hundred kilobytes. */
export const PAGE = 200;

export interface ExportPage<Row = object> {
  readonly rows: readonly Row[];
  /** Undefined behind the last row. */
  readonly next: string | undefined;
}

type Read = (tx: Tx, tenantId: string, after: string | undefined) => Promise<ExportPage>;

/** By the name of the folder, in the order of the archive. */
export const EXPORTED: Readonly<Record<string, Read>> = {
  members: async (tx, tenantId) => {
    const rows = await tx.membership.findMany({ where: { tenantId }, include: { user: true } });
    return { rows: rows.map(({ user: { name, email }, ...row }) => ({ ...row, name, email })), next: undefined };
  },
  api_keys: byId((tx, page) => tx.apiKey.findMany({ ...page, omit: { hash: true } }), "ApiKey"),
  limits: async (tx, tenantId) => ({ rows: await tx.limit.findMany({ where: { tenantId } }), next: undefined }),
  moderation_policies: async (tx, tenantId) => ({
    rows: await tx.moderationPolicy.findMany({ where: { tenantId, level: "TENANT" } }),
    next: undefined,
  }),
  moderation_verdicts: byId((tx, page) => tx.moderationVerdict.findMany(page)),
  uploads: byId(
    (tx, { where, ...page }) =>
      tx.upload.findMany({ where: { ...where, status: "READY" }, ...page, omit: { storageKey: true } }),
    "Upload",
  ),
  batches: byId(
    (tx, { where, ...page }) => tx.batch.findMany({ where: { ...where, acceptedAt: { not: null } }, ...page }),
    "Batch",
  ),
  batch_items: async (tx, tenantId, after) => {
    const [batchId, index] = after?.split(" ") ?? [];
    const rows = await tx.batchItem.findMany({
      where: {
        tenantId,
        ...(batchId !== undefined && { OR: [{ batchId: { gt: batchId } }, { batchId, index: { gt: Number(index) } }] }),
      },
      orderBy: [{ batchId: "asc" }, { index: "asc" }],
      take: PAGE,
    });
    return pageOf(rows, (row) => `${row.batchId} ${row.index}`);
  },
  generations: byId(
    (tx, { where, ...page }) =>
      tx.generation.findMany({
        where: { ...where, deletedAt: null },
        ...page,
        omit: { leaseId: true, leaseHolder: true, leaseExpiresAt: true, parked: true, isDeadLetter: true },
        include: { milestones: true, attempts: { omit: { checkpoint: true, leaseId: true } } },
      }),
    "Generation",
  ),
  ledger: byId((tx, page) => tx.ledgerEntry.findMany(page)),
  usage: async (tx, tenantId, after) => {
    const skip = Number(after ?? 0);
    const order = ["day", "userId", "apiKeyId", "task"].map((column) => ({ [column]: "asc" as const }));
    const rows = await tx.usageDay.findMany({ where: { tenantId }, orderBy: order, take: PAGE, skip });
    return pageOf(rows, () => String(skip + PAGE));
  },
  audit_log: async (tx, tenantId, after) => {
    const rows = await listAudit(tx, tenantId, { afterSeq: Number(after ?? 0), limit: PAGE });
    return pageOf(rows, ({ seq }) => String(seq));
  },
};

interface IdPage {
  readonly where: { readonly tenantId: string; readonly id?: { readonly gt: string } };
  readonly orderBy: { readonly id: "asc" };
  readonly take: number;
}

/** @param type of what the rows are, if it has ids in the API */
function byId<Row extends { readonly id: string }>(
  list: (tx: Tx, page: IdPage) => Promise<readonly Row[]>,
  type?: IdType,
): Read {
  return async (tx, tenantId, after) => {
    const where = { tenantId, ...(after !== undefined && { id: { gt: after } }) };
    const { rows, next } = pageOf(await list(tx, { where, orderBy: { id: "asc" }, take: PAGE }), ({ id }) => id);
    return { rows: type === undefined ? rows : rows.map((row) => ({ ...row, id: toGlobalId(type, row.id) })), next };
  };
}

function pageOf<Row extends object>(rows: readonly Row[], cursorOf: (row: Row) => string): ExportPage<Row> {
  const last = rows.at(-1);
  return { rows, next: last === undefined || rows.length < PAGE ? undefined : cursorOf(last) };
}

/** A picture that is kept, and the name that its file gets. */
export interface StoredPicture {
  readonly id: string;
  readonly storageKey: string;
  readonly createdAt: Date;
}

export async function listImages(
  tx: Tx,
  tenantId: string,
  after: string | undefined,
): Promise<readonly (StoredPicture & { readonly generationId: string; readonly index: number })[]> {
  return tx.image.findMany({
    where: { tenantId, deletedAt: null, ...(after !== undefined && { id: { gt: after } }) },
    orderBy: { id: "asc" },
    take: PAGE,
  });
}

export async function listPictures(
  tx: Tx,
  tenantId: string,
  after: string | undefined,
): Promise<readonly StoredPicture[]> {
  const rows = await tx.upload.findMany({
    where: { tenantId, status: "READY", purpose: "PICTURE", ...(after !== undefined && { id: { gt: after } }) },
    orderBy: { id: "asc" },
    take: PAGE,
  });
  return rows.flatMap(({ storageKey, ...row }) => (storageKey === null ? [] : [{ ...row, storageKey }]));
}
