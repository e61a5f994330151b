import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rgbImageOf } from "../../inference/image/rgb-image.ts";
import { initialState, type MarRequest, sampleTokens } from "../../inference/pipelines/mar-sampler.ts";
import { prefill } from "../../inference/pipelines/prefix.ts";
import { decodePixels } from "../../inference/pipelines/vae-decode.ts";
import type { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import type { GuidanceSchedule } from "../../inference/sampling/guidance.ts";
import type { Randomness } from "../../inference/sampling/randomness.ts";
import { deviation, goldenConfigurations, loadRecording, type Recording, RUN_LIMIT } from "../support/golden.ts";
import { buildGoldenModel } from "../support/golden-model.ts";
import { report } from "../support/report.ts";

const NEVER = new AbortController().signal;

describe.each(goldenConfigurations())("the recorded text-to-image runs of $name", (configuration) => {
  const runs = readdirSync(configuration.folder).filter((name) => /^t2i_.*\.safetensors$/.test(name));
  let golden: Awaited<ReturnType<typeof buildGoldenModel>>;

  beforeAll(async () => {
    golden = await buildGoldenModel(configuration);
  });
  afterAll(() => golden.dispose());

  test("exist", () => {
    expect(runs.length).toBeGreaterThan(0);
    expect(existsSync(join(configuration.folder, "checkpoint"))).toBe(true);
  });

  test.each(runs)("%s gives the recorded conditions, tokens and pixels", async (file) => {
    const recording = loadRecording(join(configuration.folder, file));
    const { model, conditions } = recordConditions(golden.model);
    const request = await requestOf(recording, model);
    let tokens = initialState(model, request).tokens;
    let worst = 0;
    for await (const progress of sampleTokens(model, request, { from: { stepsDone: 0, tokens }, signal: NEVER })) {
      tokens = progress.tokens;
      const step = progress.stepsDone - 1;
      if (recording.has(`mid.z.${step}`)) {
        worst = Math.max(worst, deviation(conditions[step]!, recording.get(`mid.z.${step}`).values));
      }
    }
    expect(worst).toBeLessThan(RUN_LIMIT);

    const { values: expected, shape } = recording.get("out.image");
    const [images = 0, , height = 0, width = 0] = shape;
    const size = expected.length / images;
    const expectedTokens = recording.get("out.tokens").values;
    const expectedBytes = recording.get("out.uint8").values;
    const perImage = expectedTokens.length / images;
    for (const [image, latents] of tokens.entries()) {
      worst = Math.max(worst, deviation(latents, expectedTokens.subarray(image * perImage, (image + 1) * perImage)));
      const pixels = await decodePixels(model, latents, request.grid);
      worst = Math.max(worst, deviation(pixels, expected.subarray(image * size, (image + 1) * size)));
      const { data } = rgbImageOf(pixels, { width, height });
      for (const [i, value] of data.entries()) {
        const recorded = expectedBytes[image * size + (i % 3) * width * height + Math.floor(i / 3)]!;
        if (Math.abs(value - recorded) > 1)
          expect.fail(`byte ${i} of picture ${image} is ${value}, recorded ${recorded}`);
      }
    }
    report("run", `${configuration.name}/${file}`, worst);
    expect(worst).toBeLessThan(RUN_LIMIT);
  });
});

/** The same model; what its decoder answers is kept: [rows * predicted, D] for each step. */
function recordConditions(model: LoadedModel): { model: LoadedModel; conditions: Float32Array[] } {
  const conditions: Float32Array[] = [];
  const run: LoadedModel["run"] = async (graph, feeds, wanted) => {
    const results = await model.run(graph, feeds, wanted);
    if (graph === "mar-decoder")
      conditions.push((results as Record<string, { data: unknown }>)["z"]!.data as Float32Array);
    return results;
  };
  const recorded = new Proxy(model, {
    get: (target, key) => {
      if (key === "run") return run;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
  return { model: recorded, conditions };
}

async function requestOf(recording: Recording, model: LoadedModel): Promise<MarRequest> {
  const { cfg, cfg_schedule, temperature, num_iter, m, n, images } = recording.metadata;
  const count = Number(images);
  const ids = recording.get("in.input_ids");
  const valid = recording.get("in.attention_mask").values;
  const [rows = 0, length = 0] = ids.shape;
  const prefixes = [];
  for (let row = 0; row < rows; row++) {
    const own = ids.values.subarray(row * length, (row + 1) * length);
    prefixes.push(
      await prefill(
        model,
        [...own].filter((_, i) => valid[row * length + i] === 1),
      ),
    );
  }
  return {
    conditional: prefixes.slice(0, count),
    unconditional: prefixes.slice(count),
    grid: { rows: Number(m), columns: Number(n) },
    steps: Number(num_iter),
    diffusionSteps: model.manifest.defaults.diffusionSteps,
    guidanceScale: Number(cfg),
    guidanceSchedule: cfg_schedule as GuidanceSchedule,
    temperature: Number(temperature),
    randomness: recordedRandomness(recording),
  };
}

/** Orders and noise as they were drawn when the run was recorded. */
function recordedRandomness(recording: Recording): Randomness {
  const orders = recording.get("in.orders");
  return {
    order: (image, tokenCount) =>
      Uint32Array.from(orders.values.subarray(image * tokenCount, (image + 1) * tokenCount)),
    fillNoise(out, { image, step, draw }) {
      const { values, shape } = recording.get(`in.noise.${step}`);
      const [, rows = 0, channels = 0] = shape;
      const start = draw * rows * channels + image * out.length;
      out.set(values.subarray(start, start + out.length));
    },
  };
}
