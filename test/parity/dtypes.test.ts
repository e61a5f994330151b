import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { initialState, sampleTokens } from "../../inference/pipelines/mar-sampler.ts";
import type { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import { deviation, goldenConfigurations, loadRecording, type Recording, RUN_LIMIT } from "../support/golden.ts";
import { buildGoldenModel } from "../support/golden-model.ts";
import { psnr } from "../support/psnr.ts";
import { requestOf } from "../support/recorded-run.ts";
import { report } from "../support/report.ts";

const NEVER = new AbortController().signal;

/** Of latents: what int8 may cost. */
const INT8_PSNR = 35;

/** Recorded weights are bf16 numbers, which bfloat16 holds as they are and fp16 down to 2^-17. */
const LIMITS = { bfloat16: RUN_LIMIT, float16: 2 * RUN_LIMIT };

for (const configuration of goldenConfigurations()) {
  const { name, folder } = configuration;
  const recording = loadRecording(join(folder, firstDrawing(folder)));
  const expected = recording.get("out.tokens").values;

  test.each(["float16", "bfloat16"] as const)(`${name} in %s gives the recorded latents`, async (dtype) => {
    const golden = await buildGoldenModel(configuration, dtype);
    const worst = deviation(await draw(golden.model, recording).finally(golden.dispose), expected);
    report("run", `${name}/${dtype}`, worst);
    expect(worst).toBeLessThan(LIMITS[dtype]);
  });

  test(`${name} in int8 gives nearly the recorded latents`, async () => {
    const golden = await buildGoldenModel(configuration, "int8");
    const quality = psnr(await draw(golden.model, recording).finally(golden.dispose), expected);
    report("run", `${name}/int8 (dB)`, quality);
    expect(quality).toBeGreaterThan(INT8_PSNR);
  });
}

function firstDrawing(folder: string): string {
  const [first = ""] = readdirSync(folder).filter((file) => /^t2i_.*\.safetensors$/.test(file));
  return first;
}

/** The latents of all pictures of a recorded drawing. */
async function draw(model: LoadedModel, recording: Recording): Promise<Float32Array> {
  const request = await requestOf(recording, model);
  let { tokens } = initialState(model, request);
  for await (const progress of sampleTokens(model, request, { from: { stepsDone: 0, tokens }, signal: NEVER })) {
    tokens = progress.tokens;
  }
  return Float32Array.from(tokens.flatMap((latents) => [...latents]));
}
