import { expect, inject, onTestFinished, test } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";

test("a worker killed with one generation running and one on standby is replaced, and both come to one end each", async () => {
  const folder = temporaryFolder(inject("templateData"));
  const server = await ServerProcess.start(folder.path, { SHUTDOWN_GRACE_SECONDS: "0", WORKER_SLOTS: "1" });
  onTestFinished(async () => {
    await server.end("SIGKILL");
    folder.remove();
  });
  const { client } = server;
  // Four pictures are decoded at the end: time enough to see the second one come.
  const [running, ahead] = [
    await client.create({ prompt: "a red circle", steps: 36, count: 4, seed: "3" }),
    await client.create({ prompt: "two stars", steps: 36, seed: "3" }),
  ];
  while (server.logged("attempt started").length < 2) await server.saysMore();
  process.kill(server.workerPids[0]!, "SIGKILL");
  for (const id of [running, ahead]) expect((await client.finished(id)).state).toBe("SUCCEEDED");
  const [first, second] = [await client.generation(running), await client.generation(ahead)];
  expect(first.attempts.map(({ outcome }: any) => outcome)).toEqual(["FAILED", "SUCCEEDED"]);
  expect(second.attempts.map(({ outcome }: any) => outcome)).toEqual(["RETURNED", "SUCCEEDED"]);
  expect(first.seq).toBe(5); // Queued, Started, AttemptFailed, Started, Finished
  expect(second.seq).toBe(5); // Queued, Started, Queued, Started, Finished
  for (const { creditsCharged, creditsReserved } of [first, second]) expect(creditsCharged).toBe(creditsReserved);
  await server.end("SIGTERM");
  const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder.path)), "prisma/migrations");
  const failures = await db.transaction(
    asPlatform,
    (tx) => tx.$queryRaw<{ failed: number }[]>`select failed_attempts as failed from generation order by id`,
  );
  expect(failures.at(-1)).toEqual({ failed: 0 });
  await expectBalancedLedger(db);
  await db.close();
}, 60_000);
