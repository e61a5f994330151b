import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lockForFeeding } from "../../src/generation/batch-item.store.ts";
import { GenerationLifecycle } from "../../src/generation/generation-lifecycle.ts";
import { asDispatcher, asPlatform, asTenant } from "../../src/platform/access.ts";
import { newId } from "../../src/platform/ids.ts";
import { InProcessFrameBus } from "../../src/progress/in-process-frame-bus.ts";
import { QuotaService } from "../../src/quota/quota.service.ts";
import { pruneGenerations } from "../../src/retention/retention.store.ts";
import { deleteGenerations } from "../../src/retention/tenant-erasure.store.ts";
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

  test("that erase a tenant and prune its history do not wait for each other", async () => {
    const { db } = database;
    const { payer, queue, start, finish } = await addPayer(db, 1_000_000n);
    const id = await queue(1n);
    await finish((await start(id))!, 1n);
    await db.transaction(
      asPlatform,
      (tx) => tx.$executeRaw`
      update generation set finished_at = now() - interval '8 days' where id = ${id}::uuid`,
    );

    let isHeld = (): void => {};
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      isHeld = resolve;
    });
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holding = db.transaction(asPlatform, async (tx) => {
      await tx.$queryRaw`select seq from milestone where generation_id = ${id}::uuid for update`;
      isHeld();
      await released;
    });
    await held;
    const erasing = db.transaction(asPlatform, (tx) => deleteGenerations(tx, payer.tenantId, 10));
    await until(async () => {
      const [waiting] = await db.transaction(
        asPlatform,
        (tx) => tx.$queryRaw<{ count: number }[]>`select count(*)::int as count from pg_locks where not granted`,
      );
      expect(waiting?.count).toBeGreaterThan(0);
    });
    const prune = { days: 7, uncounted: new Map(), limit: 10 };
    expect(await db.transaction(asDispatcher, (tx) => pruneGenerations(tx, prune))).toMatchObject({ generations: 0 });
    release();
    await holding;
    expect(await erasing).toBe(1);
  });
});
