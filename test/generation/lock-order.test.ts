import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lockForFeeding } from "../../src/generation/batch-item.store.ts";
import { GenerationLifecycle } from "../../src/generation/generation-lifecycle.ts";
import { asPlatform, asTenant } from "../../src/platform/access.ts";
import { newId } from "../../src/platform/ids.ts";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { addPayer } from "../support/payers.ts";
import { hasPostgres } from "../support/postgres-server.ts";
import { databasesHere, type TestDatabase } from "../support/test-database.ts";
import { until } from "../support/until.ts";

// The embedded database has one connection: its transactions never meet.
describe.runIf(hasPostgres)("transactions on a PostgreSQL server", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await databasesHere().at(-1)!.create();
  });
  afterAll(() => database.close());

  test("that feed a batch and end one of its generations do not wait for each other", async () => {
    const { db } = database;
    const quota = new QuotaService();
    const lifecycle = new GenerationLifecycle(db, quota, new InProcessFrameBus(new FakeClock()));
    const { payer, limit, queue } = await addPayer(db, 1_000_000n);
    const { tenantId, userId } = payer;
    await limit({ level: "TENANT", kind: "QUEUED" }, 10n);
    const id = await queue(1n);
    const batchId = newId();
    await db.transaction(asPlatform, async (tx) => {
      const made = { tenantId, userId, pool: "local", preset: "tiny", settings: {}, credits: 2n };
      await tx.batch.create({ data: { ...made, id: batchId, total: 3, acceptedAt: new Date(), nextIndex: 1 } });
      await tx.generation.update({ where: { id }, data: { batchId, batchIndex: 0 } });
    });

    let isFeeding = (): void => {};
    const fed = new Promise<void>((resolve) => {
      isFeeding = resolve;
    });
    const feeding = db.transaction(asTenant(tenantId), async (tx) => {
      await lockForFeeding(tx, batchId);
      isFeeding();
      await until(async () => {
        const [waiting] = await tx.$queryRaw<{ count: number }[]>`
          select count(*)::int as count from pg_locks where not granted`;
        expect(waiting?.count).toBeGreaterThan(0);
      });
      return quota.feed(tx, payer, [1n]);
    });
    await fed;
    const cancelling = db.transaction(asTenant(tenantId), (tx) => lifecycle.cancel(tx, id));
    expect(await feeding).toBe(1);
    expect(await cancelling).toMatchObject({ ended: { state: "CANCELED" } });
  });
});
