import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { expectSamePicture, pictureOf } from "../support/company.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";
import { createTogether } from "../support/together.ts";
import { until } from "../support/until.ts";

const STEPS = 36;
const REQUESTS = ["a red circle at the top left", "two stars", "an orange diamond above a pink heart"].map(
  (prompt) => ({
    prompt,
    steps: STEPS,
    seed: "3",
  }),
);

let folder: ReturnType<typeof temporaryFolder>;
let server: ServerProcess;
/** What each request gives alone when nothing happens. */
const undisturbed: Uint8Array[] = [];

beforeAll(async () => {
  folder = temporaryFolder(inject("templateData"));
  server = await start();
  for (const request of REQUESTS) {
    const { generation } = await server.client.finished(await server.client.create(request));
    undisturbed.push(await pictureOf(generation));
  }
});
afterAll(async () => {
  await server.end("SIGTERM");
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder.path)), "prisma/migrations");
  await expectBalancedLedger(db);
  await db.close();
  folder.remove();
});

const start = () => ServerProcess.start(folder.path, { SHUTDOWN_GRACE_SECONDS: "0" });

/** Generations that run as one group, and have left a checkpoint each. */
async function startGroup(): Promise<string[]> {
  const create = () => Promise.all(REQUESTS.map((request) => server.client.create(request)));
  const ids = await createTogether(server.owner, create);
  const hasCheckpoint = async (id: string) => {
    const { attempts } = await server.client.generation(id);
    expect(attempts[0]?.checkpointSteps).toBeGreaterThan(0);
  };
  await until(() => Promise.all(ids.map(hasCheckpoint)));
  const groups = server.logged("attempt started").slice(-ids.length);
  expect(new Set(groups.map(({ group }) => group)).size).toBe(1);
  return ids;
}

/** Every member has one failure, then its picture. */
async function expectRecovered(ids: readonly string[], outcome: string): Promise<void> {
  for (const [i, id] of ids.entries()) {
    expect((await server.client.finished(id)).state).toBe("SUCCEEDED");
    const { attempts, seq, creditsCharged, creditsReserved, ...generation } = await server.client.generation(id);
    expect(attempts.map((attempt: any) => attempt.outcome)).toEqual([outcome, "SUCCEEDED"]);
    expect(seq).toBe(5); // Queued, Started, AttemptFailed, Started, Finished
    expect(creditsCharged).toBe(creditsReserved);
    await expectSamePicture(await pictureOf(generation), undisturbed[i]!);
  }
}

test("a worker killed while it draws a group is replaced, and every member is finished by another attempt", async () => {
  const ids = await startGroup();
  process.kill(server.workerPids.at(-1)!, "SIGKILL");
  await expectRecovered(ids, "FAILED");
}, 180_000);

slowTest(
  "a server killed while a group runs finishes every member at the next start",
  async () => {
    const ids = await startGroup();
    await server.end("SIGKILL");
    server = await start();
    await expectRecovered(ids, "ORPHANED");
  },
  180_000,
);
