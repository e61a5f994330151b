/** Replays: what has ended is final, so asking again makes a new generation that knows the old one. */
import { authorize, may } from "../auth/authorization.ts";
import type { Principal } from "../auth/principal.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError } from "../platform/errors.ts";
import { fromGlobalId, newId, notFound } from "../platform/ids.ts";
import { userErrorsOf } from "../platform/user-error.type.ts";
import type { ReplayGenerationInput, ReplayGenerationsInput } from "./generation.input.ts";
import { toGeneration } from "./generation.mapper.ts";
import type { GenerationService } from "./generation.service.ts";
import { isTerminal } from "./generation.state.ts";
import { findGeneration, type GenerationDetails } from "./generation.store.ts";
import type { Generation } from "./generation.type.ts";
import type { ReplayResult } from "./generation-payload.type.ts";
import { checkKey, keyUse } from "./idempotency.ts";
import { findCreated } from "./intake.ts";
import { notReplayable, refusalOfReplay, taskInputOf } from "./replay.ts";
import { parseTask } from "./settings.ts";

/** Some milliseconds each. */
const MAX_AT_ONCE = 100;
const ID_PATH = ["input", "id"];

export class ReplayService {
  constructor(
    private readonly db: Database,
    private readonly generations: GenerationService,
  ) {}

  /** The caller pays, whoever asked for it first. The same key and input give the same generation. */
  async replay(
    principal: Principal,
    input: ReplayGenerationInput,
  ): Promise<{ generation: Generation; replayed: boolean }> {
    return this.replayAs("replayGeneration", principal, input);
  }

  /** The same key replays none of them twice, so that a call that was cut short can be repeated. */
  async replayAll(principal: Principal, { ids, ...input }: ReplayGenerationsInput): Promise<readonly ReplayResult[]> {
    if (ids.length < 1 || ids.length > MAX_AT_ONCE)
      throw new DomainError("INVALID_INPUT", `Name 1 to ${MAX_AT_ONCE} generations.`, { path: ["input", "ids"] });
    authorize(principal, "generation:create");
    checkKey(input.idempotencyKey);
    const results: ReplayResult[] = [];
    for (const id of new Set(ids)) results.push(await this.replayOne(principal, { id, ...input }));
    return results;
  }

  private async replayOne(principal: Principal, input: ReplayGenerationInput): Promise<ReplayResult> {
    const { id } = input;
    try {
      const field = `replayGenerations ${fromGlobalId("Generation", id, ID_PATH)}`;
      const { generation } = await this.replayAs(field, principal, input);
      return { id, generation, userErrors: [] };
    } catch (error) {
      const asNamed = (part: string): string => (part === "id" ? "ids" : part);
      return { id, userErrors: userErrorsOf(error).map((each) => ({ ...each, path: each.path.map(asNamed) })) };
    }
  }

  /** @param field that the key belongs to */
  private async replayAs(
    field: string,
    principal: Principal,
    input: ReplayGenerationInput,
  ): Promise<{ generation: Generation; replayed: boolean }> {
    authorize(principal, "generation:create");
    const use = keyUse(principal, input, { field, createdId: newId() });
    const { earlier, parent } = await this.db.transaction(asTenant(principal.tenantId), async (tx) => {
      const created = await findCreated(tx, use);
      return created === undefined
        ? { parent: await getEnded(tx, principal, input.id) }
        : { earlier: created, parent: created };
    });
    if (earlier !== undefined) return { generation: toGeneration(earlier), replayed: true };
    const { idempotencyKey, priority = parent.priority, deadlineMs } = input;
    const wish = { idempotencyKey, preset: parent.preset, priority, task: taskInputOf(parseTask(parent)) };
    return this.generations
      .takeIn({
        principal,
        input: deadlineMs === undefined ? wish : { ...wish, deadlineMs },
        use,
        parentId: parent.id,
      })
      .catch((error: unknown) => {
        throw refusalOfReplay(error);
      });
  }
}

/** What has ended, and is still known as it was asked for. */
async function getEnded(tx: Tx, principal: Principal, globalId: string): Promise<GenerationDetails> {
  authorize(principal, "generation:read");
  const row = await findGeneration(tx, fromGlobalId("Generation", globalId, ID_PATH));
  if (row === undefined || !may(principal, "generation:read", row)) throw notFound("Generation", globalId, ID_PATH);
  if (!isTerminal(row.state)) throw notReplayable(`It has not ended: it is ${row.state}.`);
  if (row.textsDeletedAt !== null)
    throw notReplayable("Its texts are deleted. Ask for it anew, with createGeneration.");
  return row;
}
