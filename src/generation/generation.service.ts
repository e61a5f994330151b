/** Creating, reading and cancelling generations: rights, rules and transactions. */

import { authorize, may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, newId } from "../platform/ids.ts";
import { pageOf } from "../platform/page.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { formatCredits, pixelsOf, priceOf } from "../quota/tariff.ts";
import { choosePreset } from "./admission.ts";
import type { CreateGenerationInput, EstimateInput } from "./generation.input.ts";
import { toGeneration } from "./generation.mapper.ts";
import {
  findGeneration,
  type GenerationDetails,
  getGeneration,
  insertQueued,
  listGenerations,
  type NewGeneration,
} from "./generation.store.ts";
import type { Estimate, Generation } from "./generation.type.ts";
import type { GenerationConnection } from "./generation-connection.type.ts";
import type { GenerationLifecycle } from "./generation-lifecycle.ts";
import { type HistoryRequest, historyPage } from "./history.ts";
import { recordUse } from "./idempotency.store.ts";
import { createdBy, keyUse } from "./idempotency.ts";
import type { PresetCatalog } from "./preset-catalog.ts";
import { workOf } from "./settings.ts";
import { resolveTask } from "./task-admission.ts";

const MAX_DEADLINE_MS = 7 * 24 * 3600 * 1000;

export interface GenerationServices {
  readonly db: Database;
  readonly quota: QuotaService;
  readonly lifecycle: GenerationLifecycle;
  readonly presets: PresetCatalog;
}

export class GenerationService {
  constructor(private readonly services: GenerationServices) {}

  /** Queues a generation with its credits reserved, or does neither. The same key and input give the same generation. */
  async create(
    principal: Principal,
    input: CreateGenerationInput,
  ): Promise<{ generation: Generation; replayed: boolean }> {
    const { db, quota, lifecycle } = this.services;
    authorize(principal, "generation:create");
    const use = keyUse(principal, input, { field: "createGeneration", createdId: newId() });
    const created = await db.transaction(asTenant(principal.tenantId), async (tx) => {
      const earlier = await recordUse(tx, use);
      if (earlier !== undefined) return { row: await getGeneration(tx, createdBy(earlier, use)), replayed: true };
      const generation = await this.prepare(tx, principal, { ...input, id: use.createdId });
      const row = await insertQueued(tx, generation);
      const work = workOf(generation.task);
      const credits = priceOf(work);
      await quota.reserve(tx, principal, { generationId: row.id }, { credits, pixels: pixelsOf(work) });
      return { row: { ...row, attempts: [], images: [], reservation: { credits, settled: null } }, replayed: false };
    });
    if (!created.replayed) lifecycle.announce(created.row);
    return { generation: toGeneration(created.row), replayed: created.replayed };
  }

  /** What a task would reserve now, and be charged at most. Nothing is stored. */
  async estimate(principal: Principal, input: EstimateInput): Promise<Estimate> {
    authorize(principal, "generation:create");
    let credits = 0n;
    const undo = new Error("only an estimate");
    const estimating = this.services.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const preset = choosePreset(await this.services.presets.list(tx), input.preset, principal.allowedPresets);
      credits = priceOf(workOf(await resolveTask(tx, principal, input.task, preset)));
      throw undo; // uploads are not used by an estimate
    });
    await estimating.catch((error: unknown) => {
      if (error !== undo) throw error;
    });
    return { credits: formatCredits(credits) };
  }

  async get(principal: Principal, globalId: string): Promise<Generation> {
    return toGeneration(
      await this.services.db.transaction(asTenant(principal.tenantId), (tx) =>
        this.getReadable(tx, principal, globalId),
      ),
    );
  }

  /** The stored row, if the principal may read it; another's is as absent as none. */
  async getReadable(tx: Tx, principal: Principal, globalId: string): Promise<GenerationDetails> {
    authorize(principal, "generation:read");
    const row = await findGeneration(tx, fromGlobalId("Generation", globalId));
    if (row !== undefined && may(principal, "generation:read", row)) return row;
    throw notFound(globalId);
  }

  async list(principal: Principal, page: HistoryRequest): Promise<GenerationConnection> {
    const request = historyPage(principal, page);
    const rows = await this.services.db.transaction(asTenant(principal.tenantId), (tx) => listGenerations(tx, request));
    return pageOf(rows, request, toGeneration);
  }

  /** Ends a queued generation now; asks a running one to stop. Cancelling twice is no error. */
  async cancel(principal: Principal, globalId: string): Promise<Generation> {
    const { db, lifecycle } = this.services;
    const { row, cancellation } = await db.transaction(asTenant(principal.tenantId), async (tx) => {
      const found = await this.getReadable(tx, principal, globalId);
      authorize(principal, "generation:cancel", found, ["id"]);
      const cancellation = await lifecycle.cancel(tx, found.id);
      return { row: await getGeneration(tx, found.id), cancellation };
    });
    lifecycle.announceCancellation(cancellation);
    if (cancellation === undefined && row.state !== "CANCELED") {
      const message = `The generation has ended already: it is ${row.state}.`;
      throw new DomainError("NOT_CANCELLABLE", message, { path: ["id"] });
    }
    return toGeneration(row);
  }

  private async prepare(
    tx: Tx,
    principal: Principal,
    { id, preset: name, priority, deadlineMs, ...input }: CreateGenerationInput & { id: string },
  ): Promise<NewGeneration> {
    const preset = choosePreset(await this.services.presets.list(tx), name, principal.allowedPresets);
    if (deadlineMs !== undefined && !(deadlineMs >= 1 && deadlineMs <= MAX_DEADLINE_MS)) {
      throw new DomainError("INVALID_INPUT", `deadlineMs is ${deadlineMs}; 1 to ${MAX_DEADLINE_MS} are possible.`, {
        path: ["input", "deadlineMs"],
      });
    }
    const task = await resolveTask(tx, principal, input.task, preset);
    const { tenantId, userId, apiKeyId } = principal;
    return { id, tenantId, userId, apiKeyId, pool: preset.pool, preset: preset.name, priority, task, deadlineMs };
  }
}

const notFound = (id: string): DomainError =>
  new DomainError("NOT_FOUND", `There is no generation "${id.slice(0, 64)}".`, { path: ["id"] });
