import { expect, test } from "vitest";
import { FakeWorker } from "../support/fake-worker.ts";
import { CREATE, newInput } from "../support/graphql-client.ts";
import { expectBalancedLedger } from "../support/ledger.ts";
import { createTestApp } from "../support/test-app.ts";

test("a preset's price factor is in the estimate, and what was accepted costs that, whatever the factor is later", async () => {
  const first = await createTestApp({ workers: new FakeWorker(0) }, { PRESET_PRICE_FACTORS: "tiny=2.5" });
  const task = { textToImage: { prompt: "a red circle" } };
  const { presets, estimate } = await first.member.query(
    "query($input: EstimateInput!) { presets { name priceFactor } estimate(input: $input) { credits } }",
    { input: { task } },
  );
  expect(presets).toEqual([{ name: "tiny", priceFactor: 2.5 }]);
  expect(estimate.credits).toBe("0.41472");
  const { createGeneration } = await first.member.query(CREATE, { input: newInput(task.textToImage) });
  expect(createGeneration.generation.creditsReserved).toBe("0.41472");
  await first.stop({ keepData: true });

  const worker = new FakeWorker();
  const second = await createTestApp({ workers: worker }, { DATA_DIR: first.dataDir });
  await (await worker.nextCall()).started().succeed();
  await second.member.finished(createGeneration.generation.id);
  const { generation, viewer } = await second.member.query(
    "query($id: ID!) { generation(id: $id) { creditsCharged } viewer { tenant { credits { used held } } } }",
    { id: createGeneration.generation.id },
  );
  expect(generation.creditsCharged).toBe("0.41472");
  expect(viewer.tenant.credits).toEqual({ used: "0.41472", held: "0" });
  await expectBalancedLedger(second.db);
  await second.stop();
});
