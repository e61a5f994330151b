import { afterAll, beforeAll, expect, inject } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { fromGlobalId } from "../../src/platform/ids.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { createTogether } from "../support/together.ts";

const STEPS = 36;
const PROMPTS = ["a red circle", "two stars", "an orange diamond", "a pink heart"];
const GUILTY = 1;

let folder: ReturnType<typeof temporaryFolder>;
let server: ServerProcess;

beforeAll(async () => {
  folder = temporaryFolder(inject("templateData"));
  server = await ServerProcess.start(folder.path, { SHUTDOWN_GRACE_SECONDS: "0" });
});
afterAll(async () => {
  await server.end("SIGTERM");
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder.path)), "prisma/migrations");
  await expectBalancedLedger(db);
  await db.close();
  folder.remove();
});

/** Kills the worker as soon as an attempt of the generation has started there. @returns all events of the generation */
async function killEachWorkerOf(id: string): Promise<any[]> {
  const events: any[] = [];
  let killed = 0;
  for await (const event of server.client.events(id)) {
    events.push(event);
    if (event.__typename !== "ProgressEvent" || event.attempt <= killed) continue;
    killed = event.attempt;
    process.kill(server.workerPids.at(-1)!, "SIGKILL");
  }
  return events;
}

slowTest(
  "one of a group that kills every worker is found and given up, and the others are finished",
  async () => {
    const create = () => Promise.all(PROMPTS.map((prompt) => server.client.create({ prompt, steps: STEPS })));
    const ids = await createTogether(server.owner, create);
    const events = await killEachWorkerOf(ids[GUILTY]!);
    expect(events.filter(({ __typename }) => __typename === "FinishedEvent")).toHaveLength(1);
    expect(events.at(-1)).toMatchObject({ __typename: "FinishedEvent", state: "DEAD_LETTERED" });
    const milestones = events.filter(({ __typename }) => !/Progress|Preview/.test(__typename));
    expect(milestones.map(({ seq }) => seq)).toEqual(milestones.map((_, i) => i + 1));
    const { attempts, creditsCharged } = await server.client.generation(ids[GUILTY]!);
    const failures = attempts.map(({ failureClass }: any) => failureClass);
    expect(failures).toEqual(failures.map(() => "WORKER_LOST"));
    expect(creditsCharged).toBe("0");

    const started = server.logged("attempt started");
    const sizeOf = (group: string): number => started.filter((each) => each.group === group).length;
    const guiltyId = fromGlobalId("Generation", ids[GUILTY]!);
    const sizes = started.filter(({ generationId }) => generationId === guiltyId).map(({ group }) => sizeOf(group));
    expect(sizes[0]).toBe(4);
    expect(Math.max(...sizes.slice(1))).toBeLessThanOrEqual(2);
    expect(sizes.filter((size) => size === 1).length).toBeGreaterThanOrEqual(3);

    for (const id of ids.toSpliced(GUILTY, 1)) {
      expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
      const innocent = await server.client.generation(id);
      expect(innocent.creditsCharged).toBe(innocent.creditsReserved);
      let ends = 0;
      for await (const { __typename } of server.client.events(id)) if (__typename === "FinishedEvent") ends++;
      expect(ends).toBe(1);
    }
  },
  300_000,
);
