import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rgbImageOf } from "../../inference/image/rgb-image.ts";
import { initialState, type MarRequest, sampleTokens } from "../../inference/pipelines/mar-sampler.ts";
import { canvasOf, encodePlanes, encodeTokens } from "../../inference/pipelines/source-picture.ts";
import { decodePixels } from "../../inference/pipelines/vae-decode.ts";
import type { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { float32, valuesOf } from "../../inference/runtime/tensor.ts";
import {
  deviation,
  goldenConfigurations,
  loadRecording,
  type Recording,
  RUN_LIMIT,
  STAGE_LIMIT,
} from "../support/golden.ts";
import { buildGoldenModel } from "../support/golden-model.ts";
import { recordConditions, requestOf } from "../support/recorded-run.ts";
import { report } from "../support/report.ts";

const NEVER = new AbortController().signal;

describe.each(goldenConfigurations())("the recorded drawings of $name", (configuration) => {
  const runs = readdirSync(configuration.folder).filter((name) => /^(t2i_.*|edit)\.safetensors$/.test(name));
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
    const request = await editOrDraw(recording, model);
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

/** An edit has the features of its source in its prompts and on its canvas. */
async function editOrDraw(recording: Recording, model: LoadedModel): Promise<MarRequest> {
  if (!recording.has("in.pixels")) return requestOf(recording, model);
  const { values, shape } = recording.get("in.pixels");
  const grid = { rows: Number(recording.metadata["m"]), columns: Number(recording.metadata["n"]) };
  const source = await encodeTokens(model, await encodePlanes(model, float32(values, shape)), grid);
  expect(deviation(valuesOf(source.encoded), recording.get("mid.x_con").values)).toBeLessThan(STAGE_LIMIT);
  expect(deviation(source.embeddings, recording.get("mid.z_src").values)).toBeLessThan(STAGE_LIMIT);
  return {
    ...(await requestOf(recording, model, source.embeddings)),
    canvas: await canvasOf(model, source),
  };
}
