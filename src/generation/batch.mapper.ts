/** Stored batches and items in their public form. */
import type { GenerationState } from "../generated/prisma/enums.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { BatchRow } from "./batch.store.ts";
import type { Batch, BatchItem, BatchItemStatus, BatchStatus } from "./batch.type.ts";
import type { ItemDetails } from "./batch-item.store.ts";
import { toGeneration } from "./generation.mapper.ts";
import { parseTextToImage } from "./settings.ts";

export function toBatch(row: BatchRow): Batch {
  const { id, preset, total, createdAt, cancelRequestedAt, finishedAt } = row;
  const status = statusOf(row);
  return { id: toGlobalId("Batch", id), status, preset, total, createdAt, cancelRequestedAt, finishedAt, uuid: id };
}

function statusOf({ cancelRequestedAt, finishedAt }: BatchRow): BatchStatus {
  if (cancelRequestedAt !== null) return finishedAt === null ? "CANCELING" : "CANCELED";
  return finishedAt === null ? "RUNNING" : "FINISHED";
}

export function toBatchItem({ index, customId, settings, generation }: ItemDetails, batch: BatchRow): BatchItem {
  const shown = generation === undefined ? null : toGeneration(generation);
  return {
    index,
    customId,
    status: itemStatus(index, generation?.state, batch),
    textToImage: parseTextToImage({ ...(batch.settings as object), ...(settings as object) }),
    error: shown?.failure ?? null,
    generation: shown,
  };
}

function itemStatus(
  index: number,
  state: GenerationState | undefined,
  { nextIndex, cancelRequestedAt }: BatchRow,
): BatchItemStatus {
  if (state === undefined && index < nextIndex) return "DELETED";
  if (state === undefined) return cancelRequestedAt === null ? "WAITING" : "CANCELED";
  return state === "DEAD_LETTERED" || state === "EXPIRED" ? "FAILED" : state;
}
