/** Creating, reading and cancelling generations: rights, rules and transactions. */

import { authorize, may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { Verdict } from "../moderation/verdict.store.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { fromGlobalId, newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";
import { pageOf } from "../platform/page.ts";
import { activeTraceparent, inSpan, SpanKind } from "../platform/tracing.ts";
import { formatCredits, priceOf } from "../quota/tariff.ts";
import { choosePreset } from "./admission.ts";
import type { CreateGenerationInput, EstimateInput } from "./generation.input.ts";
import { toGeneration } from "./generation.mapper.ts";
import { findGeneration, type GenerationDetails, getGeneration, listGenerations } from "./generation.store.ts";
import type { Estimate, Generation } from "./generation.type.ts";
import type { GenerationConnection } from "./generation-connection.type.ts";
import type { GenerationLifecycle } from "./generation-lifecycle.ts";
import { type HistoryRequest, historyPage } from "./history.ts";
import { findUse, type IdempotencyUse } from "./idempotency.store.ts";
import { keyUse } from "./idempotency.ts";
import { type Caller, GenerationIntake } from "./intake.ts";
import type { Outlook, Outlooks } from "./outlook.ts";
import type { PresetCatalog } from "./preset-catalog.ts";
import { workOf } from "./settings.ts";
import { resolveTask } from "./task-admission.ts";
import { textsOf } from "./written-texts.ts";

export interface GenerationServices {
  readonly db: Database;
  readonly lifecycle: GenerationLifecycle;
  readonly presets: PresetCatalog;
  readonly moderation: Moderation;
  readonly outlooks: Outlooks;
  readonly logger: Logger;
}

export class GenerationService {
  private readonly intake: GenerationIntake;

  constructor(private readonly services: GenerationServices) {
    this.intake = new GenerationIntake(services);
  }

  /** Queues a generation with its credits reserved, or does neither. The same key and input give the same generation. */
  async create(
    principal: Principal,
    input: CreateGenerationInput,
  ): Promise<{ generation: Generation; replayed: boolean }> {
    authorize(principal, "generation:create");
    const use = keyUse(principal, input, { field: "createGeneration", createdId: newId() });
    return this.takeIn({ principal, input, use, parentId: null });
  }

  /** Under the checks, limits and prices of now. */
  async takeIn(
    caller: Omit<Caller, "verdicts" | "traceparent">,
  ): Promise<{ generation: Generation; replayed: boolean }> {
    const { principal, input, use } = caller;
    const { tenantId } = principal;
    const attributes = { "atelier.tenant.id": tenantId, "atelier.priority": input.priority };
    return inSpan("admit generation", { kind: SpanKind.PRODUCER, attributes }, async (span) => {
      await this.checkDeadline(principal, input, use);
      const verdicts = await this.moderate(principal, input, use);
      const { row, replayed } = await this.intake.take({ ...caller, verdicts, traceparent: activeTraceparent() });
      const { id: generationId, preset, task } = row;
      span.setAttributes({
        "atelier.generation.id": generationId,
        "atelier.preset": preset,
        "atelier.task": task,
        "atelier.replayed": replayed,
      });
      if (!replayed) {
        this.services.logger.info({ generationId, tenantId }, "generation queued");
        this.services.lifecycle.announce(row);
      }
      return { generation: toGeneration(row), replayed };
    });
  }

  /** What a task would reserve now, and be charged at most. Nothing is stored. */
  async estimate(principal: Principal, input: EstimateInput): Promise<Estimate> {
    authorize(principal, "generation:create");
    const { tenantId, userId, apiKeyId, allowedPresets } = principal;
    let estimate: Estimate | undefined;
    const undo = new Error("only an estimate");
    const estimating = this.services.db.transaction(asTenant(tenantId), async (tx) => {
      const preset = choosePreset(await this.services.presets.list(tx), input.preset, allowedPresets);
      const task = await resolveTask(tx, principal, input.task, preset);
      const { pool, name, priceFactor } = preset;
      const work = { tenantId, userId, apiKeyId, pool, preset: name, priority: input.priority, task };
      estimate = { credits: formatCredits(priceOf(workOf(task), priceFactor)), work };
      throw undo; // uploads are not used by an estimate
    });
    await estimating.catch((error: unknown) => {
      if (error !== undo) throw error;
    });
    invariant(estimate !== undefined, "what is not refused is estimated");
    return estimate;
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

  /** Refuses a deadline that cannot be met; not of a repeated call. */
  private async checkDeadline(principal: Principal, input: CreateGenerationInput, use: IdempotencyUse): Promise<void> {
    const { db, outlooks } = this.services;
    const { deadlineMs } = input;
    if (deadlineMs === undefined || deadlineMs < 1) return;
    if ((await db.transaction(asTenant(principal.tenantId), (tx) => findUse(tx, use))) !== undefined) return;
    const { work } = await this.estimate(principal, input);
    const outlook = await outlooks.outlook(work);
    if (outlook !== undefined && outlook.earliestAt.getTime() > outlook.now.getTime() + deadlineMs)
      throw deadlineUnreachable(deadlineMs, outlook);
  }

  /** Asks the tenant's checks about what somebody wrote; not again for a repeated call, and not for one that is refused anyway. */
  private async moderate(
    principal: Principal,
    input: CreateGenerationInput,
    use: IdempotencyUse,
  ): Promise<readonly Verdict[]> {
    const { db, moderation } = this.services;
    const { tenantId, userId } = principal;
    if (!(await moderation.applies(tenantId, "PROMPT"))) return [];
    if ((await db.transaction(asTenant(tenantId), (tx) => findUse(tx, use))) !== undefined) return [];
    await this.estimate(principal, input);
    const texts = textsOf(input.task);
    return moderation.admit({ stage: "PROMPT", tenantId, generationId: use.createdId, texts }, userId);
  }
}

function deadlineUnreachable(deadlineMs: number, { expectedAt, earliestAt }: Outlook): DomainError {
  const message =
    `It would not finish within ${deadlineMs} ms: it is expected to finish at ${expectedAt.toISOString()}, and at ` +
    `${earliestAt.toISOString()} at the earliest. Give it more time, or ask again when less is queued.`;
  return new DomainError("DEADLINE_UNREACHABLE", message, {
    path: ["input", "deadlineMs"],
    retryable: true,
    type: "DeadlineError",
    facts: { earliestFinishAt: earliestAt, expectedFinishAt: expectedAt },
  });
}

const notFound = (id: string): DomainError =>
  new DomainError("NOT_FOUND", `There is no generation "${id.slice(0, 64)}".`, { path: ["id"] });
