import type { Tx } from "../platform/database.ts";

/** A picture and whose it is. */
export interface OwnedImage {
  readonly id: string;
  readonly storageKey: string;
  readonly width: number;
  readonly height: number;
  readonly tenantId: string;
  /** The member who had it made. */
  readonly userId: string;
}

export async function findImage(tx: Tx, id: string): Promise<OwnedImage | undefined> {
  const row = await tx.image.findUnique({
    where: { id, deletedAt: null },
    include: { generation: { select: { userId: true } } },
  });
  if (row === null) return undefined;
  const { generation, ...image } = row;
  return { ...image, userId: generation.userId };
}

/** Pictures with the member who had them made. */
export async function readImages(tx: Tx, ids: readonly string[]) {
  const rows = await tx.image.findMany({
    where: { id: { in: [...ids] }, deletedAt: null },
    include: { generation: { select: { userId: true } } },
  });
  return new Map(rows.map(({ generation, ...image }) => [image.id, { ...image, userId: generation.userId }]));
}
