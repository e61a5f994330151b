/** Creating, reading and cancelling generations: rights, rules and transactions. */
import { createHash } from "node:crypto";
import { authorize, may, mayForAll } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromCursor, fromGlobalId, newId, toCursor } from "../platform/ids.ts";
import type { QuotaService } from "../quota/quota.service.ts";
import { priceOf } from "../quota/tariff.ts";
import { choosePreset, isStorable } from "./admission.ts";
import type { CreateGenerationInput, HistoryArguments } from "./generation.input.ts";
import { toGeneration } from "./generation.mapper.ts";
import {
  findGeneration,
  type GenerationDetails,
  getGeneration,
  insertQueued,
  listGenerations,
  lockGeneration,
  type NewGeneration,
  requestCancel,
} from "./generation.store.ts";
import type { Generation } from "./generation.type.ts";
import type { GenerationConnection } from "./generation-connection.type.ts";
import type { GenerationLifecycle } from "./generation-lifecycle.ts";
import { type IdempotencyUse, recordUse } from "./idempotency.store.ts";
import type { PresetCatalog } from "./preset-catalog.ts";
import { workOf } from "./settings.ts";
import { resolveTask } from "./task-admission.ts";

const MAX_KEY_CHARACTERS = 255;
const MAX_DEADLINE_MS = 7 * 24 * 3600 * 1000;
const MAX_PAGE = 100;

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
    checkIdempotencyKey(input.idempotencyKey);
    const use = useOf(principal, input);
    const created = await db.transaction(async (tx) => {
      const earlier = await recordUse(tx, use);
      if (earlier !== undefined) return replay(tx, earlier, use);
      const generation = await this.prepare(tx, principal, { ...input, id: use.generationId });
      const row = await insertQueued(tx, generation);
      const credits = priceOf(workOf(generation.task));
      await quota.reserve(tx, { tenantId: principal.tenantId, generationId: row.id, credits });
      return { row: { ...row, attempts: [], images: [], reservation: { credits, settled: null } }, replayed: false };
    });
    if (!created.replayed) lifecycle.announce(created.row);
    return { generation: toGeneration(created.row), replayed: created.replayed };
  }

  async get(principal: Principal, globalId: string): Promise<Generation> {
    return toGeneration(await this.services.db.transaction((tx) => this.getReadable(tx, principal, globalId)));
  }

  /** The stored row, if the principal may read it; another's is as absent as none. */
  async getReadable(tx: Tx, principal: Principal, globalId: string): Promise<GenerationDetails> {
    const row = await findGeneration(tx, fromGlobalId("Generation", globalId));
    if (row !== undefined && may(principal, "generation:read", row)) return row;
    throw notFound(globalId);
  }

  async list(principal: Principal, page: HistoryArguments): Promise<GenerationConnection> {
    authorize(principal, "generation:read");
    if (page.scope === "TENANT" && !mayForAll(principal, "generation:read")) {
      throw new DomainError(
        "FORBIDDEN",
        `The role ${principal.role} reads its own generations only. Use scope: MINE.`,
        { path: ["scope"] },
      );
    }
    const { first, last } = page;
    const size = pageSize(first, last);
    const isForward = last === undefined;
    const after = page.after === undefined ? undefined : fromCursor(page.after, "after");
    const before = page.before === undefined ? undefined : fromCursor(page.before, "before");
    const rows = await this.services.db.transaction((tx) =>
      listGenerations(tx, {
        tenantId: principal.tenantId,
        userId: page.scope === "MINE" ? principal.userId : undefined,
        after,
        before,
        from: isForward ? "newest" : "oldest",
        limit: size + 1,
      }),
    );
    const hasMore = rows.length > size;
    const shown = isForward ? rows.slice(0, size) : rows.slice(-size);
    const edges = shown.map((row) => ({ cursor: toCursor(row.id), node: toGeneration(row) }));
    return {
      edges,
      nodes: edges.map(({ node }) => node),
      pageInfo: {
        hasNextPage: isForward ? hasMore : before !== undefined,
        hasPreviousPage: isForward ? after !== undefined : hasMore,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      },
    };
  }

  /** Ends a queued generation now; asks a running one to stop. Cancelling twice is no error. */
  async cancel(principal: Principal, globalId: string): Promise<Generation> {
    const { db, lifecycle } = this.services;
    const { row, ended, requested } = await db.transaction(async (tx) => {
      const found = await this.getReadable(tx, principal, globalId);
      await lockGeneration(tx, found.id);
      if (!may(principal, "generation:cancel", found)) {
        throw new DomainError(
          "FORBIDDEN",
          `The role ${principal.role} may not cancel this generation. Ask its owner or an operator.`,
          { path: ["id"] },
        );
      }
      const ended = await lifecycle.endQueued(tx, found.id, { state: "CANCELED" });
      const requested = ended === undefined && (await requestCancel(tx, found.id));
      return { row: await getGeneration(tx, found.id), ended, requested };
    });
    if (ended !== undefined) lifecycle.announce(ended);
    if (requested) db.doorbell.ring();
    if (ended === undefined && !requested && row.state !== "CANCELED") {
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
    const preset = choosePreset(await this.services.presets.list(tx), name);
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

function checkIdempotencyKey(key: string): void {
  if (key.length >= 1 && key.length <= MAX_KEY_CHARACTERS && isStorable(key)) return;
  throw new DomainError(
    "INVALID_INPUT",
    `idempotencyKey must have 1 to ${MAX_KEY_CHARACTERS} characters; a random UUID is a good one.`,
    {
      path: ["input", "idempotencyKey"],
    },
  );
}

function useOf({ tenantId, userId }: Principal, { idempotencyKey, ...body }: CreateGenerationInput): IdempotencyUse {
  const bodyHash = createHash("sha256").update(canonicalJson(body)).digest("hex");
  return { tenantId, userId, field: "createGeneration", key: idempotencyKey, bodyHash, generationId: newId() };
}

/** Equal inputs give equal text, whatever the order of their keys. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, member]) => member !== undefined && member !== null);
  return `{${entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`)
    .join()}}`;
}

async function replay(tx: Tx, earlier: { bodyHash: string; generationId: string }, use: IdempotencyUse) {
  if (earlier.bodyHash === use.bodyHash) return { row: await getGeneration(tx, earlier.generationId), replayed: true };
  throw new DomainError(
    "IDEMPOTENCY_KEY_REUSED",
    "This idempotency key was used with another input. Use a new key for a new generation.",
    {
      path: ["input", "idempotencyKey"],
    },
  );
}

function pageSize(first: number | undefined, last: number | undefined): number {
  const size = first ?? last;
  if (size !== undefined && (first === undefined || last === undefined) && size >= 1 && size <= MAX_PAGE) return size;
  throw new DomainError("INVALID_INPUT", `Give either first or last, from 1 to ${MAX_PAGE}.`, {
    path: [last === undefined ? "first" : "last"],
  });
}
