/** What a storm must not have done, and how long it made people wait. */
import { Database } from "../../../src/platform/database.ts";
import { openPostgresDatabase } from "../../../src/platform/database-postgres.ts";
import { toGlobalId } from "../../../src/platform/ids.ts";
import { createLogger } from "../../../src/platform/logger.ts";
import { expectBalancedLedger } from "../../support/ledger.ts";
import type { Fault } from "./faults.ts";
import { historyOf } from "./history.ts";
import type { Asked, Load } from "./load.ts";
import { PictureReader } from "./pictures.ts";
import type { Recipe } from "./recipes.ts";
import { type GenerationRecord, type Records, readRecords } from "./records.ts";
import { keptOf } from "./uploads.ts";
import { SLOTS, type World } from "./world.ts";

const MAX_ATTEMPTS = 3;
const KINDS: Readonly<Record<string, string>> = {
  QUEUED: "QueuedEvent",
  STARTED: "StartedEvent",
  ATTEMPT_FAILED: "AttemptFailedEvent",
  FINISHED: "FinishedEvent",
};

export interface Verdict {
  /** Each with the history of the generation that it is about. */
  readonly complaints: readonly string[];
  readonly records: Records;
  readonly pictures: { readonly read: number; readonly identical: number };
}

export async function judge(world: World, load: Load, faults: readonly Fault[]): Promise<Verdict> {
  const records = await readRecords(world.databaseUrl);
  const asked = new Map(load.asked.map((each) => [each.id, each]));
  const complaints = [...load.complaints, ...(await general(world, load, records))];
  const reader = new PictureReader(world.urls[0] ?? "");
  for (const record of records.generations) {
    const id = toGlobalId("Generation", record.id);
    const one = asked.get(id);
    const wrong = [
      ...ofMilestones(record),
      ...ofAttempts(record),
      ...ofEnd(record, one),
      ...(one === undefined ? [] : ofClient(record, one)),
      ...(one === undefined ? [] : await ofUpload(world, load, one)),
      ...(await ofPictures({ record, one, world, load, reader })),
    ];
    if (wrong.length > 0) complaints.push(`${id}: ${wrong.join("; ")}\n${historyOf(record, one, faults)}`);
  }
  return { complaints, records, pictures: reader };
}

async function general(world: World, load: Load, records: Records): Promise<readonly string[]> {
  const stored = new Set(records.generations.map(({ id }) => toGlobalId("Generation", id)));
  const lost = load.asked.filter(({ id }) => !stored.has(id));
  const ofBatches = load.batches.reduce((sum, { recipes }) => sum + recipes.length, 0);
  const expected = load.asked.length + load.prepared + ofBatches;
  const database = await Database.open(
    await openPostgresDatabase({ url: world.databaseUrl, logger: createLogger("silent") }),
    "prisma/migrations",
  );
  const unbalanced = await expectBalancedLedger(database).then(
    () => [],
    (error: Error) => [error.message],
  );
  await database.close();
  return [
    ...lost.map(({ id }) => `${id} was accepted and is lost`),
    ...(stored.size === expected ? [] : [`there are ${stored.size} generations, not ${expected}`]),
    ...world.crashes,
    ...records.leaks.map((limit) => `a limit leaks: ${JSON.stringify(limit)}`),
    ...records.unfinishedBatches.map((batch) => `a batch has not ended: ${JSON.stringify(batch)}`),
    ...unbalanced,
  ];
}

function ofMilestones({ milestones, milestoneSeq }: GenerationRecord): readonly string[] {
  const ends = milestones.filter(({ kind }) => kind === "FINISHED").length;
  return [
    ...(milestones.every(({ seq }, index) => seq === index + 1) ? [] : ["milestones have gaps"]),
    ...(milestones.length === milestoneSeq ? [] : [`${milestones.length} milestones, and seq ${milestoneSeq}`]),
    ...(ends === 1 && milestones.at(-1)?.kind === "FINISHED" ? [] : [`${ends} terminal milestones`]),
  ];
}

function ofAttempts({ state, attempts, milestones }: GenerationRecord): readonly string[] {
  const successes = attempts.filter(({ outcome }) => outcome === "SUCCEEDED").length;
  const starts = milestones.filter(({ kind }) => kind === "STARTED").length;
  return [
    ...(successes === (state === "SUCCEEDED" ? 1 : 0) ? [] : [`${successes} attempts succeeded`]),
    ...(starts === attempts.length ? [] : [`${starts} starts of ${attempts.length} attempts`]),
    ...attempts.filter(({ outcome }) => outcome === null).map(({ number }) => `attempt ${number} has not ended`),
  ];
}

/** The end that is due, paid for once. */
function ofEnd({ state, ends, failedAttempts }: GenerationRecord, one: Asked | undefined): readonly string[] {
  const isDue =
    state === "SUCCEEDED" ||
    (["CANCELED", "EXPIRED"].includes(state) && one?.mayEndEarly === true) ||
    (state === "DEAD_LETTERED" && failedAttempts >= MAX_ATTEMPTS);
  return [
    ...(isDue ? [] : [`is ${state}`]),
    ...(ends.length === 1 ? [] : [`was accounted for ${ends.length} times: ${ends.join()}`]),
  ];
}

function ofClient({ milestones, state }: GenerationRecord, { watcher, isOver }: Asked): readonly string[] {
  const told = milestones.map(({ seq, kind }) => `${seq} ${KINDS[kind]}`).join(", ");
  const seen = watcher.milestones.map(({ seq, kind }) => `${seq} ${kind}`).join(", ");
  return [
    ...(seen === told ? [] : [`its client saw ${seen}, not ${told}`]),
    ...(isOver ? [] : [`its client still waits, state ${state}`]),
    ...watcher.complaints,
  ];
}

/** What was sent is there, and looks as it did when nothing happened. */
async function ofUpload(world: World, load: Load, { uploadId, tenant }: Asked): Promise<readonly string[]> {
  if (uploadId === undefined) return [];
  const kept = await keptOf(world.urls[0] ?? "", tenant.apiKey, uploadId);
  return kept === load.undisturbedUpload ? [] : [`the upload that it starts from is ${kept ?? "lost"}`];
}

interface Drawn {
  readonly record: GenerationRecord;
  readonly one: Asked | undefined;
  readonly world: World;
  readonly load: Load;
  readonly reader: PictureReader;
}

async function ofPictures({ record, one, world, load, reader }: Drawn): Promise<readonly string[]> {
  const batch = load.batches.find(({ id }) => record.batchId !== null && id === toGlobalId("Batch", record.batchId));
  const recipe: Recipe | undefined = one?.recipe ?? batch?.recipes[record.batchIndex ?? 0];
  const tenant = one?.tenant ?? batch?.tenant;
  if (recipe === undefined || tenant === undefined || record.state !== "SUCCEEDED") return [];
  const undisturbed = load.undisturbed.get(recipe) ?? [];
  const mayHaveHadCompany = record.attempts.some(({ worker }) => hasCompany(world, worker));
  if (record.answer !== null)
    return mayHaveHadCompany || record.answer === undisturbed[0]
      ? []
      : ["its answer is not that of an undisturbed run"];
  const id = toGlobalId("Generation", record.id);
  return reader.complaints({ id, apiKey: tenant.apiKey, undisturbed, mayHaveHadCompany });
}

const hasCompany = ({ places }: World, worker: string): boolean => (SLOTS[places.indexOf(placeOf(worker))] ?? 1) > 1;

/** A worker that takes another's place has its name and a number. */
export const placeOf = (worker: string): string => worker.split("#")[0] ?? "";
