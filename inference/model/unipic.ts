/** A whole UniPic model from a checkpoint folder: every graph, the weights file and the stored tensors. */
import { copyFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { GraphBuilder } from "../graph/graph-builder.ts";
import { encodeModel } from "../graph/onnx-model.ts";
import { WeightsFile } from "../graph/weights-file.ts";
import {
  type Dtype,
  GRAPH_NAMES,
  type GraphName,
  type Manifest,
  type StoredTensorName,
  WEIGHTS_FILE,
} from "../manifest.ts";
import type { CheckpointFolder } from "./checkpoint-folder.ts";
import type { UnipicConfig } from "./config.ts";
import { buildDiffusionCondition, buildDiffusionHead, buildDiffusionTime } from "./diffloss.ts";
import { buildMarCanvas, buildMarDecoder, buildMarEncoder } from "./mar.ts";
import { Parameters, type SkipRule } from "./parameters.ts";
import { formatIn } from "./precision.ts";
import { buildQwen2, buildQwen2Head } from "./qwen2.ts";
import { buildVaeDecoder, buildVaeEncoder } from "./vae.ts";

const SKIP_RULES: readonly SkipRule[] = [
  { pattern: /^siglip2(_proj)?\./, reason: "built and loaded by the original, but called by none of its scripts" },
  { pattern: /^mar\.class_emb\.weight$/, reason: "a leftover of class-conditional MAR; never read" },
  { pattern: /^vae\.loss\./, reason: "the autoencoder's training loss" },
];

export const GRAPH_BUILDERS: Record<GraphName, (g: GraphBuilder, config: UnipicConfig) => void> = {
  "mar-encoder": buildMarEncoder,
  llm: (g, config) => buildQwen2(g, config.llm),
  "mar-decoder": buildMarDecoder,
  "diffusion-time": (g, config) => buildDiffusionTime(g, config.mar),
  "diffusion-condition": (g, config) => buildDiffusionCondition(g, config.mar),
  "diffusion-head": (g, config) => buildDiffusionHead(g, config.mar),
  "llm-head": (g, config) => buildQwen2Head(g, config.llm),
  "mar-canvas": buildMarCanvas,
  "vae-encoder": (g, config) => buildVaeEncoder(g, config.vae, config.vae_scale),
  "vae-decoder": (g, config) => buildVaeDecoder(g, config.vae, config.vae_scale),
};

/** What the manifest says of a model as built; digests and the preview map are known only when it is complete. */
export type ModelDescription = Omit<Manifest, "digest" | "source" | "latentPreview">;

export interface UnipicOptions {
  /** An empty folder, for all graphs and weights. */
  readonly out: string;
  readonly dtype: Dtype;
  /** Told the share of the weights that has been read, 0..1. */
  readonly onProgress?: (share: number) => void;
}

export function buildUnipic(
  checkpoint: CheckpointFolder,
  { out, dtype, onProgress = () => {} }: UnipicOptions,
): ModelDescription {
  const sources = checkpoint.open();
  const weights = new WeightsFile(join(out, WEIGHTS_FILE), WEIGHTS_FILE);
  try {
    const parameters = new Parameters(sources, SKIP_RULES, onProgress);
    for (const name of GRAPH_NAMES) {
      const graph = new GraphBuilder(name, parameters, weights, formatIn(dtype));
      GRAPH_BUILDERS[name](graph, checkpoint.config);
      writeFileSync(join(out, graphFile(name)), encodeModel(graph.finish()));
    }
    const tensors = storeTensors(checkpoint.config, parameters, weights);
    parameters.requireAllUsed();
    for (const file of checkpoint.tokenizerFiles) copyFileSync(file, join(out, basename(file)));
    return { ...describe(checkpoint), dtype, tensors, hasTokenizer: checkpoint.tokenizerFiles.length > 0 };
  } finally {
    weights.close();
    for (const { checkpoint: source } of sources) source.close();
  }
}

const graphFile = (name: GraphName): string => `${name}.onnx`;

function storeTensors({ mar, llm }: UnipicConfig, parameters: Parameters, weights: WeightsFile): Manifest["tensors"] {
  const places = (mar.img_size / mar.vae_stride) ** 2;
  const encoderRows = [1, mar.buffer_size + places, mar.encoder_embed_dim];
  const decoderRows = [1, mar.buffer_size + places, mar.decoder_embed_dim];
  const store = (key: string, shape: readonly number[]): Manifest["tensors"][StoredTensorName] => ({
    offset: weights.place(key, () => parameters.read(key, shape)).offset,
    shape: shape.length === 3 && shape[0] === 1 ? shape.slice(1) : [...shape],
  });
  return {
    token_embeddings: store("llm.model.embed_tokens.weight", [llm.vocab_size, llm.hidden_size]),
    mask_token: store("mar.mask_token", [1, 1, mar.decoder_embed_dim]),
    encoder_positions: store("mar.encoder_pos_embed_learned", encoderRows),
    decoder_positions: store("mar.decoder_pos_embed_learned", decoderRows),
    diffusion_positions: store("mar.diffusion_pos_embed_learned", [1, places, mar.decoder_embed_dim]),
  };
}

function describe({
  config,
  repetitionPenalty,
}: CheckpointFolder): Omit<ModelDescription, "dtype" | "tensors" | "hasTokenizer"> {
  const { mar, llm, prompt } = config;
  return {
    format: 4,
    preset: config.name,
    ropeInvFreqBf16: llm.rope_inv_freq_bf16,
    graphs: Object.fromEntries(GRAPH_NAMES.map((name) => [name, { file: graphFile(name) }])) as Manifest["graphs"],
    dimensions: {
      latentChannels: mar.vae_embed_dim,
      vaeStride: mar.vae_stride,
      bufferTokens: mar.buffer_size,
      nativeGrid: mar.img_size / mar.vae_stride,
      encoderWidth: mar.encoder_embed_dim,
      decoderWidth: mar.decoder_embed_dim,
      diffusionWidth: mar.diffloss_w,
      llmWidth: llm.hidden_size,
      llmLayers: llm.num_hidden_layers,
      llmKeyHeads: llm.num_key_value_heads,
      llmHeadWidth: llm.hidden_size / llm.num_attention_heads,
      maxPositions: llm.max_position_embeddings,
    },
    tokens: { image: config.image_token_id, eos: config.eos_token_id },
    repetitionPenalty,
    prompt: {
      template: prompt.template,
      textToImagePrefix: prompt.text_to_image_prefix,
      textToImageUnconditional: prompt.text_to_image_unconditional,
      imageEditUnconditional: prompt.image_edit_unconditional,
    },
    defaults: {
      size: config.defaults?.size ?? mar.img_size,
      steps: config.defaults?.steps ?? 32,
      diffusionSteps: mar.num_sampling_steps,
      guidanceScale: config.defaults?.guidance_scale ?? 3,
      editGuidanceScale: config.defaults?.edit_guidance_scale ?? config.defaults?.guidance_scale ?? 3,
      temperature: config.defaults?.temperature ?? 1,
    },
  };
}
