import { describe, expect, test } from "vitest";
import type { OnnxGraph } from "../../inference/graph/onnx-model.ts";
import { goldenConfigurations } from "../support/golden.ts";
import { allNodes, buildGraphs } from "./model-graphs.ts";

/**
 * The eps of a normalisation is below the noise of fp32 pictures (golden README), so it is read from the nodes. ONNX's
 * own default is 1e-5: a node without the attribute would be wrong too.
 */
function epsOf(graph: OnnxGraph): readonly { opType: string; eps: unknown }[] {
  return allNodes(graph)
    .filter(({ opType }) => opType.includes("Norm"))
    .map(({ opType, attributes }) => ({ opType, eps: attributes["epsilon"]?.value }));
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

describe.each(goldenConfigurations())("in the graphs of $name", ({ folder }) => {
  test("every LayerNorm of the MAR has the configured eps", () => {
    const { config, graphs } = buildGraphs(folder);
    const { mar } = config;
    const layerNorm = { opType: "LayerNormalization", eps: mar.norm_eps };
    // Two in a block; one on the way in and one on the way out of the encoder, one on the way out of the decoder.
    expect(epsOf(graphs["mar-encoder"]!)).toEqual(times(2 * mar.encoder_depth + 2, layerNorm));
    expect(epsOf(graphs["mar-decoder"]!)).toEqual(times(2 * mar.decoder_depth + 1, layerNorm));
  });

  test("every RMSNorm of the language model has the configured eps", () => {
    const { config, graphs } = buildGraphs(folder);
    const rmsNorm = { opType: "SimplifiedLayerNormalization", eps: config.llm.rms_norm_eps };
    expect(epsOf(graphs["llm"]!)).toEqual(times(2 * config.llm.num_hidden_layers + 1, rmsNorm));
  });

  test("every LayerNorm of the denoiser has an eps of 1e-6", () => {
    const { config, graphs } = buildGraphs(folder);
    const layerNorm = { opType: "LayerNormalization", eps: 1e-6 };
    expect(epsOf(graphs["diffusion-head"]!)).toEqual(times(config.mar.diffloss_d + 1, layerNorm));
    expect(epsOf(graphs["diffusion-time"]!)).toEqual([]);
    expect(epsOf(graphs["diffusion-condition"]!)).toEqual([]);
  });

  test("every GroupNorm of the VAE has an eps of 1e-6", () => {
    const { config, graphs } = buildGraphs(folder);
    const { vae } = config;
    const blocks = (vae.num_res_blocks + 1) * vae.ch_mult.length;
    const attentions = vae.ch_mult.filter((_, level) =>
      vae.attn_resolutions_decoder.includes(vae.resolution / 2 ** level),
    ).length;
    // In the middle two residual blocks with two each and an attention; one at the end.
    const count = 2 * 2 + 1 + 2 * blocks + attentions * (vae.num_res_blocks + 1) + 1;
    expect(epsOf(graphs["vae-decoder"]!)).toEqual(times(count, { opType: "InstanceNormalization", eps: 1e-6 }));
  });

  test("the configuration decides", () => {
    const { graphs } = buildGraphs(folder, ({ mar, llm }) => {
      mar!["norm_eps"] = 1e-5;
      llm!["rms_norm_eps"] = 1e-4;
    });
    const values = (name: string) => new Set(epsOf(graphs[name]!).map(({ eps }) => eps));
    expect(values("mar-encoder")).toEqual(new Set([1e-5]));
    expect(values("mar-decoder")).toEqual(new Set([1e-5]));
    expect(values("llm")).toEqual(new Set([1e-4]));
  });
});
