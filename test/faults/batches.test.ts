import { expect, inject } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import { Database } from "../../src/platform/database.ts";
import { openEmbeddedDatabase } from "../../src/platform/database-embedded.ts";
import { lockFolder } from "../../src/platform/folder-lock.ts";
import { CREATE_BATCH, finishedBatch, newBatch, readBatch, readResults } from "../support/batches.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { ServerProcess, temporaryFolder } from "../support/server-process.ts";
import { slowTest } from "../support/slow-test.ts";

const WORKERS = "2";
const TOTAL = 24;

slowTest(
  "a batch survives a server that is killed three times: no item is lost, drawn twice or charged twice",
  async () => {
    const folder = temporaryFolder(inject("templateData"));
    const start = () => ServerProcess.start(folder.path, { WORKERS, SHUTDOWN_GRACE_SECONDS: "0" });
    const input = newBatch(
      Array.from({ length: TOTAL }, (_, i) => `picture ${i}`),
      { defaults: { steps: 1, width: 32, height: 32, seed: "1" } },
    );
    const create = (server: ServerProcess) => server.client.send(CREATE_BATCH, { input });

    let server = await start();
    const cut = create(server).catch(() => undefined);
    await server.end("SIGKILL"); // while it is being created
    await cut;
    server = await start();
    const { batch } = (await create(server)).data.createBatch;
    await server.end("SIGKILL"); // while it is being queued
    server = await start();
    await expect
      .poll(async () => (await readBatch(server.client, batch.id)).counts.succeeded)
      .toBeGreaterThanOrEqual(6);
    await server.end("SIGKILL"); // while it runs
    server = await start();
    expect(await finishedBatch(server.client, batch.id)).toMatchObject({
      counts: { succeeded: TOTAL },
      credits: { charged: batch.credits.reserved, held: "0" },
    });
    const results = await readResults(server.client, batch.id);
    expect(results.map(({ index, prompt, seed, images }) => [index, prompt, seed, images.length])).toEqual(
      Array.from({ length: TOTAL }, (_, i) => [i, `picture ${i}`, String(1 + i), 1]),
    );
    expect(new Set(results.map(({ generationId }) => generationId)).size).toBe(TOTAL);
    const { batches } = await server.client.query("{ batches(first: 2) { nodes { id } } }");
    expect(batches.nodes).toEqual([{ id: batch.id }]);

    await server.end("SIGTERM");
    const db = await Database.open(await openEmbeddedDatabase(lockFolder(folder.path)), "prisma/migrations");
    await expectBalancedLedger(db);
    const used = await db.transaction(asPlatform, (tx) =>
      tx.attempt.groupBy({ by: ["worker"], where: { outcome: "SUCCEEDED" }, _count: true }),
    );
    expect(used.map(({ worker }) => worker).sort()).toHaveLength(2); // spread over both
    expect(used.reduce((sum, { _count }) => sum + _count, 0)).toBe(TOTAL);
    await db.close();
    folder.remove();
  },
  180_000,
);
