import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerIds } from "../../inference/pipelines/image-to-text.ts";
import { embedPrompt } from "../../inference/pipelines/prefix.ts";
import { encodePlanes, encodeTokens } from "../../inference/pipelines/source-picture.ts";
import { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { float32 } from "../../inference/runtime/tensor.ts";
import { deviation, goldenConfigurations, loadRecording, type Recording, RUN_LIMIT } from "../support/golden.ts";
import { buildGoldenModel } from "../support/golden-model.ts";
import { report } from "../support/report.ts";

describe.each(goldenConfigurations())("the recorded answers of $name", (configuration) => {
  let golden: Awaited<ReturnType<typeof buildGoldenModel>>;
  let recording: Recording;

  beforeAll(async () => {
    golden = await buildGoldenModel(configuration);
    recording = loadRecording(join(configuration.folder, "i2t.safetensors"));
  });
  afterAll(() => golden.dispose());

  test.each([
    { run: "plain", penalty: () => 1, stop: "eos_token_id" },
    { run: "penalty", penalty: () => Number(recording.metadata["penalty"]), stop: "eos_token_id" },
    { run: "stop", penalty: () => Number(recording.metadata["penalty"]), stop: "stop_run_eos_token_id" },
  ])("$run: the recorded ids and logits", async ({ run, penalty, stop }) => {
    const { folder, manifest, options } = golden.model;
    const tokens = { ...manifest.tokens, eos: Number(recording.metadata[stop]) };
    const model = LoadedModel.open(folder, options, { ...manifest, tokens, repetitionPenalty: penalty() });
    try {
      const { values, shape } = recording.get("in.pixels");
      const grid = { rows: Number(recording.metadata["m"]), columns: Number(recording.metadata["n"]) };
      const source = await encodeTokens(model, await encodePlanes(model, float32(values, shape)), grid);
      const prompt = embedPrompt(model, [...recording.get("in.input_ids").values], source.embeddings);
      const logits: number[] = [];
      const ids: number[] = [];
      const maxTokens = Number(recording.metadata["max_new_tokens"]);
      for await (const id of answerIds(model, prompt, { maxTokens, onLogits: (row) => logits.push(...row) })) {
        ids.push(id);
      }
      expect(ids).toEqual([...recording.get(`${run}.out.ids`).values]);
      if (!recording.has(`${run}.out.logits`)) return;
      const worst = deviation(Float32Array.from(logits), recording.get(`${run}.out.logits`).values);
      report("run", `${configuration.name}/i2t ${run}`, worst);
      expect(worst).toBeLessThan(RUN_LIMIT);
    } finally {
      await model.close();
    }
  });

  test("a built model has the penalty of its language model's folder", () => {
    expect(golden.model.manifest.repetitionPenalty).toBe(Number(recording.metadata["penalty"]));
  });
});
