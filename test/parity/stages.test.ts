import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, type Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GraphBuilder } from "../../inference/graph/graph-builder.ts";
import { encodeModel } from "../../inference/graph/onnx-model.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { findCheckpointFolder } from "../../inference/model/checkpoint-folder.ts";
import { addLlmAnswer } from "../../inference/model/mar.ts";
import { Parameters } from "../../inference/model/parameters.ts";
import { DiffusionSampler } from "../../inference/pipelines/diffusion-sampler.ts";
import { pastOf, prefill } from "../../inference/pipelines/prefix.ts";
import { canvasOf, encodePlanes, encodeTokens } from "../../inference/pipelines/source-picture.ts";
import { float32, int64, valuesOf } from "../../inference/runtime/tensor.ts";
import { deviation, goldenConfigurations, loadRecording, type Recording, STAGE_LIMIT } from "../support/golden.ts";
import { buildGoldenModel } from "../support/golden-model.ts";
import { validRows } from "../support/recorded-run.ts";
import { report } from "../support/report.ts";

describe.each(goldenConfigurations())("the stages of $name equal the recorded ones", (configuration) => {
  let golden: Awaited<ReturnType<typeof buildGoldenModel>>;
  let stages: Recording;

  beforeAll(async () => {
    golden = await buildGoldenModel(configuration);
    stages = loadRecording(join(configuration.folder, "stages.safetensors"));
  });
  afterAll(() => golden.dispose());

  const check = (stage: string, actual: Float32Array, expected: Float32Array): void => {
    const worst = deviation(actual, expected);
    report("stage", `${configuration.name}/${stage}`, worst);
    expect(worst, stage).toBeLessThan(STAGE_LIMIT);
  };
  const expectStage = (stage: string, actual: Float32Array): void => check(stage, actual, stages.get(stage).values);

  test("VAE decoder", async () => {
    const { values, shape } = stages.get("vae_decode.in.tokens");
    const { pixels } = await golden.model.run("vae-decoder", { tokens: float32(values, shape) }, ["pixels"]);
    expectStage("vae_decode.out.pixels", valuesOf(pixels));
  });

  test("VAE encoder", async () => {
    const { values, shape } = stages.get("vae_encode.in.pixels");
    expectStage("vae_encode.out.latent", await encodePlanes(golden.model, float32(values, shape)));
  });

  test("features of a source picture", async () => {
    const { encoded, embeddings } = await sourceFeatures();
    expectStage("visual_feature.out.x_con", valuesOf(encoded));
    expectStage("visual_feature.out.z_enc", embeddings);
  });

  test("position tables of every recorded grid", () => {
    const tables = stages.names.filter((name) => name.startsWith("pos."));
    expect(tables.length).toBeGreaterThan(0);
    for (const name of tables) {
      const [, kind, grid = ""] = name.split(".");
      const [rows = 0, columns = 0] = grid.split("x").map(Number);
      expectStage(name, golden.model.positionTable(kind as "encoder", { rows, columns }));
    }
  });

  test("MAR encoder", async () => {
    const { x_enc, z_enc } = await encode();
    expectStage("mar_encoder.out.x_enc", valuesOf(x_enc));
    expectStage("mar_encoder.out.z_enc", valuesOf(z_enc));
  });

  test("language model prefill", async () => {
    const { shape } = stages.get("llm_prefill.out.k.0");
    const [, heads = 0, longest = 0, width = 0] = shape;
    for (const [row, ids] of validRows(stages, "llm_prefill.in").entries()) {
      const prefix = await prefill(golden.model, ids);
      for (const [layer, keys] of prefix.keys.entries()) {
        for (const [kind, actual] of [
          ["k", keys],
          ["v", prefix.values[layer]!],
        ] as const) {
          const all = stages.get(`llm_prefill.out.${kind}.${layer}`).values;
          const expected = Array.from({ length: heads }, (_, head) => {
            const start = (row * heads + head) * longest * width;
            return [...all.subarray(start, start + prefix.length * width)];
          }).flat();
          check(`llm_prefill.out.${kind}.${layer}[${row}]`, actual, Float32Array.from(expected));
        }
      }
    }
  });

  test("language model with a cached prompt, projected onto the encoder's features", async () => {
    const { x_enc, hidden } = await answer();
    const scratch = mkdtempSync(join(tmpdir(), "atelier-stage-"));
    const checkpoint = findCheckpointFolder(
      join(configuration.folder, "checkpoint"),
      join(configuration.folder, "config.json"),
    );
    const sources = checkpoint.open();
    const weights = new WeightsFile(join(scratch, "weights.bin"), "weights.bin");
    try {
      const g = new GraphBuilder("answer", new Parameters(sources, []), weights);
      const rank3 = ["a", "b", "c"];
      const features = addLlmAnswer(
        g,
        g.input("x_enc", "float32", rank3),
        g.input("hidden", "float32", rank3),
        checkpoint.config,
      );
      g.output("features", features, { type: "float32", dims: rank3 });
      writeFileSync(join(scratch, "answer.onnx"), encodeModel(g.finish()));
      const session = await InferenceSession.create(join(scratch, "answer.onnx"));
      const results = await session.run({ x_enc, hidden });
      expectStage("mae_encoder_llm.out.x_enc", results["features"]!.data as Float32Array);
    } finally {
      weights.close();
      for (const source of sources) source.checkpoint.close();
      rmSync(scratch, { recursive: true });
    }
  });

  test("MAR decoder on the mask-token canvas, for all places and for some", async () => {
    const { shape } = stages.get("decoder.out.z");
    const [rows = 0, tokens = 0, width = 0] = shape;
    const every = Array.from({ length: tokens }, (_, place) => place);
    expectStage("decoder.out.z", await decode(every));
    const some = every.filter((place) => place % 3 === 1);
    const all = stages.get("decoder.out.z").values;
    const expected = Array.from({ length: rows }, (_, row) =>
      some.flatMap((place) => [...all.subarray((row * tokens + place) * width, (row * tokens + place + 1) * width)]),
    ).flat();
    check("decoder.out.z of some places", await decode(some), Float32Array.from(expected));
  });

  test("MAR decoder on the canvas of a source picture", async () => {
    const [, tokens = 0] = stages.get("decoder_xcon.out.z").shape;
    const every = Array.from({ length: tokens }, (_, place) => place);
    expectStage("decoder_xcon.out.z", await decode(every, await canvasOf(golden.model, await sourceFeatures())));
  });

  test("denoiser: noise estimate, variance, guidance", async () => {
    const output = stages.get("diffnet.out");
    const [rows = 0, doubled = 0] = output.shape;
    const channels = doubled / 2;
    const columns = (values: Float32Array, from: number, count: number): Float32Array =>
      Float32Array.from(
        { length: count * channels },
        (_, i) => values[Math.floor(i / channels) * doubled + from + (i % channels)]!,
      );
    const guided = stages.get("diffnet_cfg3.out").values;
    const half = rows / 2;
    const own = Array.from({ length: rows }, (_, row) => ({ x: row, condition: row }));
    // One reverse step is affine in the estimate: these coefficients let the estimate, or the variance, through alone.
    const estimates = await denoise({ recipm1: -1, coef1: 1 }, own);
    check("diffnet.out (noise estimate)", estimates, columns(output.values, 0, rows));
    const deviations = await denoise({ logBeta: 4, noise: 1 }, own);
    check(
      "diffnet.out (variance)",
      deviations.map((value) => Math.log(value) - 1),
      columns(output.values, channels, rows),
    );
    // The recorded halves have different times, which one run of ours never has: each half by itself, mixed here.
    const unconditional = await denoise(
      { recipm1: -1, coef1: 1 },
      own.slice(0, half).map(({ x }) => ({ x, condition: x + half })),
    );
    const mixed = unconditional.map((value, i) => value + 3 * (estimates[i]! - value));
    check("diffnet_cfg3.out", mixed, columns(guided, 0, half));
  });

  test.each(["cfg", "plain"])("reverse diffusion (%s)", async (kind) => {
    const { values: z, shape } = stages.get(`diffsample_${kind}.in.z`);
    const { values: noise, shape: noiseShape } = stages.get(`diffsample_${kind}.in.noise`);
    const [, tokenCount = 0, channels = 0] = noiseShape;
    const sampler = await DiffusionSampler.create(golden.model, golden.model.manifest.defaults.diffusionSteps);
    const latents = await sampler.sample(
      {
        conditions: float32(z, shape),
        tokensPerPart: tokenCount,
        parts: [
          {
            guidanceScale: kind === "cfg" ? 3 : 1,
            temperature: kind === "cfg" ? 0.85 : 1,
            fillNoise: (out, draw) =>
              out.set(noise.subarray(draw * tokenCount * channels, (draw + 1) * tokenCount * channels)),
          },
        ],
      },
      () => {},
    );
    expectStage(`diffsample_${kind}.out`, latents);
  });

  function visiblePlaces(): number[][] {
    const { values, shape } = stages.get("mar_encoder.in.mask");
    const [rows = 0, tokens = 0] = shape;
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: tokens }, (_, place) => place).filter((place) => values[row * tokens + place] === 0),
    );
  }

  function encode() {
    const { values, shape } = stages.get("mar_encoder.in.tokens");
    const [images = 0, count = 0, channels = 0] = shape;
    const visible = visiblePlaces();
    const latents = visible.flatMap((places, image) =>
      places.flatMap((place) => [
        ...values.subarray((image * count + place) * channels, (image * count + place + 1) * channels),
      ]),
    );
    const visibleCount = visible[0]!.length;
    return golden.model.run(
      "mar-encoder",
      {
        tokens: float32(Float32Array.from(latents), [images, visibleCount, channels]),
        visible: int64(visible.flat(), [images, visibleCount]),
        position_table: table("encoder"),
      },
      ["x_enc", "z_enc"],
    );
  }

  async function answer(): Promise<{ x_enc: Tensor; hidden: Tensor }> {
    const { x_enc, z_enc } = await encode();
    const prefixes = [];
    for (const ids of validRows(stages, "llm_prefill.in")) prefixes.push(await prefill(golden.model, ids));
    const { hidden } = await golden.model.run("llm", { embeds: z_enc, ...pastOf(golden.model, prefixes) }, ["hidden"]);
    return { x_enc, hidden };
  }

  function sourceFeatures() {
    const grid = { rows: Number(stages.metadata["m"]), columns: Number(stages.metadata["n"]) };
    return encodeTokens(golden.model, stages.get("vae_encode.out.latent").values, grid);
  }

  async function decode(predicted: readonly number[], canvas = maskToken()): Promise<Float32Array> {
    const { bufferTokens } = golden.model.manifest.dimensions;
    const { x_enc, hidden } = await answer();
    const visible = visiblePlaces();
    const [, tokens = 0] = stages.get("mar_encoder.in.mask").shape;
    const index = visible.flatMap((places) => [
      ...Array.from({ length: bufferTokens }, (_, buffer) => buffer),
      ...Array.from({ length: tokens }, (_, place) =>
        places.includes(place) ? bufferTokens + places.indexOf(place) : -1,
      ),
    ]);
    const { z } = await golden.model.run(
      "mar-decoder",
      {
        x_enc,
        hidden,
        canvas,
        canvas_index: int64(index, [visible.length, bufferTokens + tokens]),
        predict: int64(
          visible.flatMap(() => [...predicted]),
          [visible.length, predicted.length],
        ),
        position_table: table("decoder"),
        diffusion_table: table("diffusion"),
      },
      ["z"],
    );
    return valuesOf(z);
  }

  function maskToken(): Tensor {
    return float32(golden.model.tensor("mask_token"), [1, 1, golden.model.manifest.dimensions.decoderWidth]);
  }

  /** One reverse step of each row by itself, with the time of its condition. */
  async function denoise(
    { recipm1 = 0, coef1 = 0, logBeta = 0, noise = 0 },
    rows: readonly { x: number; condition: number }[],
  ): Promise<Float32Array> {
    const { values: x, shape } = stages.get("diffnet.in.x");
    const { values: c, shape: cShape } = stages.get("diffnet.in.c");
    const times = stages.get("diffnet.in.t").values;
    const [, channels = 0] = shape;
    const [, width = 0] = cShape;
    const results: number[] = [];
    for (const row of rows) {
      const time = float32(times.slice(row.condition, row.condition + 1), [1]);
      const { embeddings } = await golden.model.run("diffusion-time", { times: time }, ["embeddings"]);
      const z = float32(c.slice(row.condition * width, (row.condition + 1) * width), [1, width]);
      const { condition } = await golden.model.run("diffusion-condition", { z }, ["condition"]);
      const { x_out } = await golden.model.run(
        "diffusion-head",
        {
          x: float32(x.slice(row.x * channels, (row.x + 1) * channels), [1, channels]),
          condition,
          time: embeddings,
          coefficients: float32(Float32Array.of(0, recipm1, coef1, 0, logBeta, 0), [1, 6]),
          noise: float32(new Float32Array(channels).fill(noise), [1, 1, channels]),
          guidance_scale: float32(Float32Array.of(1), [1, 1]),
        },
        ["x_out"],
      );
      results.push(...valuesOf(x_out));
    }
    return Float32Array.from(results);
  }

  function table(kind: "encoder" | "decoder" | "diffusion") {
    const { encoderWidth, decoderWidth } = golden.model.manifest.dimensions;
    const width = kind === "encoder" ? encoderWidth : decoderWidth;
    const grid = { rows: Number(stages.metadata["m"]), columns: Number(stages.metadata["n"]) };
    const values = golden.model.positionTable(kind, grid);
    return float32(values, [values.length / width, width]);
  }
});
