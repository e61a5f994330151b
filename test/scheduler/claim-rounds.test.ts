import { expect, test, vi } from "vitest";
import { asPlatform } from "../../src/platform/access.ts";
import type { Querying } from "../../src/platform/database.ts";
import type { WorkerDiscovery } from "../../src/pool/worker-discovery.ts";
import { saveLimit } from "../../src/quota/limit.store.ts";
import { FakeWorker } from "../support/fake-worker.ts";
import { createTestApp } from "../support/test-app.ts";

test("what a claim has started runs, also when the rest of the claim fails", async () => {
  const [one, two] = [new FakeWorker(), new FakeWorker()];
  const both: WorkerDiscovery = {
    areElsewhere: true,
    async start(listener) {
      await one.start(listener);
      await two.start({ ...listener, found: (place) => listener.found({ ...place, name: "two" }) });
    },
    stop: async () => void (await Promise.all([one.stop(), two.stop()])),
    reportStuck: () => {},
  };
  const app = await createTestApp({ workers: both });
  const limit = (max: bigint) =>
    app.db.transaction(asPlatform, async (tx) => {
      const { id } = await tx.tenant.findFirstOrThrow();
      const key = { tenantId: id, level: "TENANT", subjectId: id, kind: "RUNNING", window: "TOTAL" } as const;
      await saveLimit(tx, { ...key, isRolling: false, max });
    });
  await limit(0n);
  const ids = [await app.member.create({ prompt: "a" }), await app.member.create({ prompt: "b" })];
  const singly = app.db.singly.bind(app.db);
  let failures = 0;
  let hasStarted = false;
  vi.spyOn(app.db, "singly").mockImplementation((access) => {
    const $queryRaw = async (query: TemplateStringsArray, ...values: unknown[]): Promise<unknown> => {
      if (hasStarted && failures++ === 0) throw new Error("on purpose");
      const rows = await singly(access).$queryRaw<{ attempt?: number | null }[]>(query, ...values);
      hasStarted ||= rows.some(({ attempt }) => typeof attempt === "number");
      return rows;
    };
    return { $queryRaw } as unknown as Querying;
  });
  await limit(1n);
  for (const worker of [one, two]) void worker.nextCall().then((call) => call.started().succeed());
  void one.nextCall().then((call) => call.started().succeed());
  for (const id of ids) {
    await app.member.finished(id);
    expect((await app.member.generation(id)).attempts).toHaveLength(1);
  }
  expect(failures).toBeGreaterThan(0);
  await app.stop();
});
