import type { MarRequest } from "../../inference/pipelines/mar-sampler.ts";
import { prefill } from "../../inference/pipelines/prefix.ts";
import type { LoadedModel } from "../../inference/runtime/loaded-model.ts";
import type { GuidanceSchedule } from "../../inference/sampling/guidance.ts";
import type { Randomness } from "../../inference/sampling/randomness.ts";
import type { Recording } from "./golden.ts";

/** The same model; what leads its diffusion is kept: [rows * predicted, D] for each step. */
export function recordConditions(model: LoadedModel): { model: LoadedModel; conditions: Float32Array[] } {
  const conditions: Float32Array[] = [];
  const run: LoadedModel["run"] = (graph, feeds, wanted) => {
    if (graph === "diffusion-condition") conditions.push(feeds["z"]!.data as Float32Array);
    return model.run(graph, feeds, wanted);
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

/** The request of a recorded run; `features` stand for its image tokens. */
export async function requestOf(
  recording: Recording,
  model: LoadedModel,
  features?: Float32Array,
): Promise<MarRequest> {
  const { cfg, cfg_schedule, temperature, num_iter, m, n, images } = recording.metadata;
  const count = Number(images);
  const prefixes = [];
  for (const ids of validRows(recording, "in")) prefixes.push(await prefill(model, ids, features));
  return {
    conditional: prefixes.slice(0, count),
    unconditional: prefixes.slice(count),
    grid: { rows: Number(m), columns: Number(n) },
    steps: Number(num_iter),
    diffusionSteps: model.manifest.defaults.diffusionSteps,
    guidanceScale: Number(cfg),
    guidanceSchedule: cfg_schedule as GuidanceSchedule,
    temperature: Number(temperature),
    speed: "exact",
    randomness: recordedRandomness(recording),
  };
}

/** The recorded rows of token ids, without their padding. */
export function validRows(recording: Recording, prefix: string): readonly number[][] {
  const { values, shape } = recording.get(`${prefix}.input_ids`);
  const valid = recording.get(`${prefix}.attention_mask`).values;
  const [rows = 0, length = 0] = shape;
  return Array.from({ length: rows }, (_, row) =>
    [...values.subarray(row * length, (row + 1) * length)].filter((_, i) => valid[row * length + i] === 1),
  );
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
