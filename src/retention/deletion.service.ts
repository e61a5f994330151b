/** Deleting what was made: rights, rules and transactions. */
import { appendAudit } from "../audit/audit.store.ts";
import { type Action, authorize, may } from "../auth/authorization.ts";
import { actorOf, type Principal } from "../auth/principal.ts";
import { isTerminal } from "../generation/generation.state.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, notFound } from "../platform/ids.ts";
import { readReason } from "../platform/text.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import {
  type DeletedImage,
  deleteGenerationRow,
  deleteImageRow,
  findGenerationOfImage,
  type LockedGeneration,
  lockGenerationToDelete,
} from "./deletion.store.ts";
import type { ImagePurge } from "./image-purge.ts";

const ACTION: Action = "generation:delete";
const PATH = ["id"];

export interface DeletionServices {
  readonly db: Database;
  readonly purge: ImagePurge;
  readonly quota: QuotaService;
}

export class DeletionService {
  constructor(private readonly services: DeletionServices) {}

  /** Deletes a generation that has ended, with its pictures. Deleting twice is no error. */
  async deleteGeneration(principal: Principal, globalId: string, reason?: string): Promise<void> {
    const id = fromGlobalId("Generation", globalId, PATH);
    await this.delete(principal, reason, async (tx) => {
      const generation = await lockGenerationToDelete(tx, id);
      const owned = requireDeletable(principal, generation, notFound("Generation", globalId, PATH));
      if (owned.isDeleted) return undefined;
      requireEnded(owned);
      const images = await deleteGenerationRow(tx, owned);
      return { owned, images, target: { type: "Generation", id } };
    });
  }

  /** Deletes one picture. Deleting twice is no error. */
  async deleteImage(principal: Principal, globalId: string, reason?: string): Promise<void> {
    const id = fromGlobalId("Image", globalId, PATH);
    await this.delete(principal, reason, async (tx) => {
      const generationId = await findGenerationOfImage(tx, id);
      const generation = generationId === undefined ? undefined : await lockGenerationToDelete(tx, generationId);
      const owned = requireDeletable(principal, generation, notFound("Image", globalId, PATH));
      const images = await deleteImageRow(tx, id);
      if (images.length === 0) return undefined;
      return { owned, images, target: { type: "Image", id } };
    });
  }

  /** What somebody deletes of others is in the audit log. Bytes go when the rows are marked. */
  private async delete(
    principal: Principal,
    reason: string | undefined,
    mark: (tx: Tx) => Promise<Deletion | undefined>,
  ): Promise<void> {
    const { db, purge, quota } = this.services;
    const given = readReason(reason);
    const tombstones = await db.transaction(asTenant(principal.tenantId), async (tx) => {
      const deletion = await mark(tx);
      if (deletion === undefined) return [];
      const { owned, images, target } = deletion;
      const bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      await quota.free(tx, owned.tenantId, [{ ...owned, bytes }]);
      if (owned.userId !== principal.userId) {
        const content = { actor: actorOf(principal), action: ACTION, target, reason: given };
        await appendAudit(tx, owned.tenantId, { ...content, before: { userId: owned.userId }, after: null });
      }
      return images;
    });
    await purge.purge(tombstones);
  }
}

interface Deletion {
  readonly owned: LockedGeneration;
  readonly images: readonly DeletedImage[];
  readonly target: { readonly type: string; readonly id: string };
}

/** Another's is as absent as none. */
function requireDeletable(
  principal: Principal,
  generation: LockedGeneration | undefined,
  absent: DomainError,
): LockedGeneration {
  authorize(principal, "generation:read");
  if (generation === undefined || !may(principal, "generation:read", generation)) throw absent;
  authorize(principal, ACTION, generation, PATH);
  return generation;
}

function requireEnded({ state }: LockedGeneration): void {
  if (isTerminal(state)) return;
  throw new DomainError(
    "NOT_DELETABLE",
    `The generation is ${state}. Cancel it with cancelGeneration, and delete it once it has ended.`,
    { path: PATH, retryable: true },
  );
}
