import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GraphBuilder, type ParameterSource } from "../../inference/graph/graph-builder.ts";
import { WeightsFile } from "../../inference/graph/weights-file.ts";
import { parseUnipicConfig, type UnipicConfig } from "../../inference/model/config.ts";
import { GRAPH_BUILDERS } from "../../inference/model/unipic.ts";
import { type StoredValues, writeTensors } from "./tensor-files.ts";

export const PRESET = "inference/presets/tiny";
const LLM_FOLDER = "Qwen2.5-1.5B-Instruct";
const VAE_PREFIX = "vae.";

/** Every part of the architecture, as small as it can be. */
const CONFIG = {
  name: "smallest",
  vae: { embed_dim: 2, ch: 2, ch_mult: [1, 1], num_res_blocks: 1, num_groups: 1, attn_resolutions_encoder: [256] },
  mar: {
    vae_embed_dim: 2,
    img_size: 8,
    vae_stride: 2,
    encoder_embed_dim: 4,
    encoder_depth: 2,
    encoder_num_heads: 1,
    decoder_embed_dim: 4,
    decoder_depth: 2,
    decoder_num_heads: 1,
    buffer_size: 2,
    diffloss_d: 1,
    diffloss_w: 4,
    num_sampling_steps: "2",
  },
  llm: {
    hidden_size: 8,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    vocab_size: 16,
    max_position_embeddings: 64,
  },
  image_token_id: 15,
  eos_token_id: 14,
  defaults: { size: 8, steps: 4 },
};

/** A checkpoint folder in the published layout, with the tokenizer of the tiny preset. */
export function writeSmallestCheckpoint(folder: string): void {
  mkdirSync(folder);
  cpSync(join(PRESET, LLM_FOLDER), join(folder, LLM_FOLDER), { recursive: true });
  writeFileSync(join(folder, "unipic.json"), JSON.stringify(CONFIG));
  const all = [...neededTensors()];
  const isOfVae = ([key]: (typeof all)[number]): boolean => key.startsWith(VAE_PREFIX);
  const vae = all.filter(isOfVae).map(([key, tensor]) => [key.slice(VAE_PREFIX.length), tensor] as const);
  writeTensors(join(folder, "pytorch_model.bin"), new Map(all.filter((entry) => !isOfVae(entry))));
  writeTensors(join(folder, "kl16.ckpt"), new Map(vae), "model.");
}

/** Arbitrary values for every tensor that the graphs ask for, and for those that are stored without one. */
function neededTensors(): ReadonlyMap<string, StoredValues> {
  const config = parseUnipicConfig(CONFIG, "the smallest configuration");
  const tensors = new Map<string, StoredValues>();
  const source: ParameterSource = {
    has: () => false, // tied weights
    read(key, shape) {
      const size = shape.reduce((product, dim) => product * dim, 1);
      const values = Float32Array.from({ length: size }, (_, i) => Math.sin(key.length + i) / 2);
      tensors.set(key, { shape, values });
      return values;
    },
  };
  const scratch = mkdtempSync(join(tmpdir(), "atelier-smallest-"));
  const weights = new WeightsFile(join(scratch, "weights.bin"), "weights.bin");
  try {
    for (const [name, build] of Object.entries(GRAPH_BUILDERS)) build(new GraphBuilder(name, source, weights), config);
  } finally {
    weights.close();
    rmSync(scratch, { recursive: true });
  }
  for (const [key, shape] of storedShapes(config)) source.read(key, shape);
  return tensors;
}

function storedShapes({ mar, llm }: UnipicConfig): readonly [key: string, shape: readonly number[]][] {
  const places = (mar.img_size / mar.vae_stride) ** 2;
  return [
    ["llm.model.embed_tokens.weight", [llm.vocab_size, llm.hidden_size]],
    ["mar.mask_token", [1, 1, mar.decoder_embed_dim]],
    ["mar.encoder_pos_embed_learned", [1, mar.buffer_size + places, mar.encoder_embed_dim]],
    ["mar.decoder_pos_embed_learned", [1, mar.buffer_size + places, mar.decoder_embed_dim]],
    ["mar.diffusion_pos_embed_learned", [1, places, mar.decoder_embed_dim]],
  ];
}
