/**
 * How generations come in. Those of a tenant that come in at the same time share one transaction, so that its rows are locked
 * and its commit is flushed once for all of them; each is taken in or refused alone, as if it had come alone.
 */
import type { Principal } from "../auth/principal.ts";
import { insertVerdicts, type Verdict } from "../moderation/verdict.store.ts";
import { asTenant } from "../platform/access.ts";
import type { Database, Tx } from "../platform/database.ts";
import { DomainError, invariant } from "../platform/errors.ts";
import { JoinedCalls } from "../platform/joined-calls.ts";
import { amountsOf } from "../quota/demand.ts";
import { quotaError } from "../quota/quota-error.ts";
import { pixelsOf, priceOf } from "../quota/tariff.ts";
import { choosePreset } from "./admission.ts";
import type { CreateGenerationInput } from "./generation.input.ts";
import { findGeneration, type GenerationDetails, type NewGeneration } from "./generation.store.ts";
import { deleteUses, findUse, type IdempotencyUse } from "./idempotency.store.ts";
import { createdBy, usedForDeleted } from "./idempotency.ts";
import { type Candidate, type Intake, takeIn } from "./intake.store.ts";
import type { OfferedPreset, PresetCatalog } from "./preset-catalog.ts";
import { workOf } from "./settings.ts";
import { resolveTask } from "./task-admission.ts";

const MAX_DEADLINE_MS = 7 * 24 * 3600 * 1000;
/** In one transaction: some milliseconds of the embedded database. */
const MAX_TOGETHER = 32;

export interface IntakeServices {
  readonly db: Database;
  readonly presets: PresetCatalog;
}

/** Someone who asks for a generation under an idempotency key. */
export interface Caller {
  readonly principal: Principal;
  readonly input: CreateGenerationInput;
  readonly use: IdempotencyUse;
  /** The generation that is replayed. */
  readonly parentId: string | null;
  /** Of the checks that let it pass. */
  readonly verdicts: readonly Verdict[];
  /** Of the trace that it is part of, if any. */
  readonly traceparent: string | undefined;
}

export interface Created {
  readonly row: GenerationDetails;
  readonly replayed: boolean;
}

type Outcome<Value> = PromiseSettledResult<Value>;

export class GenerationIntake {
  private readonly callers = new JoinedCalls<Caller, Created>({
    run: (tenantId, callers) => this.takeInAll(tenantId, callers),
    sameness: ({ use: { userId, key } }) => `${userId} ${key}`,
    maxItems: MAX_TOGETHER,
  });

  constructor(private readonly services: IntakeServices) {}

  /** Queues the generation with its credits reserved, or does neither. The same key and input give the same generation. */
  async take(caller: Caller): Promise<Created> {
    const { tenantId } = caller.principal;
    if (caller.input.task.textToImage !== undefined) return this.callers.call(tenantId, caller);
    // It may mark pictures as used, which is undone with its transaction when it is refused.
    const [outcome] = await this.takeInAll(tenantId, [caller]);
    invariant(outcome !== undefined, "a caller has an outcome");
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  }

  /** Nothing is kept of a transaction in which nothing was taken in. */
  private async takeInAll(tenantId: string, callers: readonly Caller[]): Promise<readonly Outcome<Created>[]> {
    let outcomes: readonly Outcome<Created>[] = [];
    const undo = new Error("nothing was taken in");
    const taking = this.services.db.transaction(asTenant(tenantId), async (tx) => {
      outcomes = await this.takeInTogether(tx, tenantId, callers);
      if (outcomes.every(({ status }) => status === "rejected")) throw undo;
    });
    await taking.catch((error: unknown) => {
      if (error !== undo) throw error;
    });
    return outcomes;
  }

  private async takeInTogether(
    tx: Tx,
    tenantId: string,
    callers: readonly Caller[],
  ): Promise<readonly Outcome<Created>[]> {
    const prepared: Outcome<Candidate>[] = [];
    for (const caller of callers) prepared.push(await this.prepare(tx, caller));
    const candidates = prepared.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    const intakes = candidates.length === 0 ? [] : await takeIn(tx, tenantId, candidates);
    const refused = candidates.filter((_, index) => isRefusal(intakes[index])).map(({ use }) => use);
    if (refused.length > 0 && refused.length < callers.length) await deleteUses(tx, refused);
    const intakeOf = new Map(candidates.map(({ use }, index) => [use, intakes[index]]));
    const taken = callers.filter(({ use }) => isTakenIn(intakeOf.get(use)));
    await insertVerdicts(
      tx,
      taken.map(({ use: { userId, createdId: generationId }, verdicts }) => ({
        tenantId,
        userId,
        generationId,
        verdicts,
      })),
    );
    const outcomes: Outcome<Created>[] = [];
    for (const [index, { use }] of callers.entries())
      outcomes.push(await outcomeOf(() => conclude(tx, use, { prepared: prepared[index], intake: intakeOf.get(use) })));
    return outcomes;
  }

  /** What was offered a moment ago decides nothing against a caller. */
  private async prepare(tx: Tx, caller: Caller): Promise<Outcome<Candidate>> {
    const { presets } = this.services;
    const prepared = await outcomeOf(async () => prepare(tx, caller, await presets.listRecent(tx)));
    return prepared.status === "fulfilled"
      ? prepared
      : outcomeOf(async () => prepare(tx, caller, await presets.list(tx)));
  }
}

/** Refusals are outcomes; a fault of the database is everybody's, because it has undone everything. */
async function outcomeOf<Value>(act: () => Promise<Value>): Promise<Outcome<Value>> {
  try {
    return { status: "fulfilled", value: await act() };
  } catch (reason) {
    if (reason instanceof DomainError) return { status: "rejected", reason };
    throw reason;
  }
}

async function prepare(
  tx: Tx,
  { principal, input, use, parentId, traceparent }: Caller,
  presets: readonly OfferedPreset[],
): Promise<Candidate> {
  const { tenantId, userId, apiKeyId, allowedPresets } = principal;
  const { priority, deadlineMs } = input;
  const preset = choosePreset(presets, input.preset, allowedPresets);
  if (deadlineMs !== undefined && !(deadlineMs >= 1 && deadlineMs <= MAX_DEADLINE_MS)) {
    throw new DomainError("INVALID_INPUT", `deadlineMs is ${deadlineMs}; 1 to ${MAX_DEADLINE_MS} are possible.`, {
      path: ["input", "deadlineMs"],
    });
  }
  const task = await resolveTask(tx, principal, input.task, preset);
  const owner = { id: use.createdId, tenantId, userId, apiKeyId, pool: preset.pool, preset: preset.name };
  const generation: NewGeneration = {
    ...owner,
    priority,
    task,
    deadlineMs,
    parentId,
    traceparent: traceparent ?? null,
  };
  const work = workOf(task);
  return { generation, use, demand: { credits: priceOf(work, preset.priceFactor), pixels: pixelsOf(work) } };
}

/** An earlier use of the key goes before any refusal. */
async function conclude(
  tx: Tx,
  use: IdempotencyUse,
  { prepared, intake }: { prepared: Outcome<Candidate> | undefined; intake: Intake | undefined },
): Promise<Created> {
  const earlier = intake === undefined || "isKnown" in intake ? await findCreated(tx, use) : undefined;
  // The same id: it was us, with a commit whose answer got lost.
  if (earlier !== undefined) return { row: earlier, replayed: earlier.id !== use.createdId };
  if (prepared?.status === "rejected") throw prepared.reason;
  invariant(
    prepared !== undefined && intake !== undefined && !("isKnown" in intake),
    "whoever is prepared is taken in",
  );
  const { demand } = prepared.value;
  if (isRefusal(intake)) throw quotaError(intake.refusing, amountsOf(demand, false));
  const reservation = { credits: demand.credits, settled: null };
  return { row: { ...intake.row, attempts: [], images: [], reservation }, replayed: false };
}

/** What an earlier use of the key created; undefined for the first use. */
export async function findCreated(tx: Tx, use: IdempotencyUse): Promise<GenerationDetails | undefined> {
  const earlier = await findUse(tx, use);
  if (earlier === undefined) return undefined;
  const row = await findGeneration(tx, createdBy(earlier, use));
  if (row === undefined) throw usedForDeleted();
  return row;
}

const isTakenIn = (intake: Intake | undefined): boolean => intake !== undefined && "row" in intake;

const isRefusal = (intake: Intake | undefined): intake is Extract<Intake, { refusing: unknown }> =>
  intake !== undefined && "refusing" in intake;
