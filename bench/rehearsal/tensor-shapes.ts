/** Every tensor of a UniPic checkpoint: those that our graphs read, and those of the original that no script of it uses. */
import { GraphBuilder, type ParameterSource } from "../../inference/graph/graph-builder.ts";
import type { WeightsFile } from "../../inference/graph/weights-file.ts";
import { GRAPH_NAMES } from "../../inference/manifest.ts";
import type { UnipicConfig } from "../../inference/model/config.ts";
import { GRAPH_BUILDERS } from "../../inference/model/unipic.ts";

export type Shapes = ReadonlyMap<string, readonly number[]>;

/** Keys with `vae.`, `llm.` and so on in front, as in pytorch_model.bin. */
export function tensorShapes(config: UnipicConfig): Shapes {
  const shapes = new Map<string, readonly number[]>();
  const recorder: ParameterSource = {
    has: () => true,
    read(key, shape) {
      shapes.set(key, shape);
      return new Float32Array(shape.reduce((product, dim) => product * dim, 1));
    },
  };
  const weights: Pick<WeightsFile, "fileName" | "place"> = {
    fileName: "",
    place(_, read) {
      read();
      return { offset: 0, length: 0 };
    },
  };
  for (const name of GRAPH_NAMES) {
    GRAPH_BUILDERS[name](new GraphBuilder(name, recorder, weights as WeightsFile), config);
  }
  for (const [key, shape] of [...storedTensors(config), ...unusedTensors(config)]) shapes.set(key, shape);
  return shapes;
}

function storedTensors({ mar, llm }: UnipicConfig): Shapes {
  const places = (mar.img_size / mar.vae_stride) ** 2;
  return new Map([
    ["llm.model.embed_tokens.weight", [llm.vocab_size, llm.hidden_size]],
    ["mar.mask_token", [1, 1, mar.decoder_embed_dim]],
    ["mar.encoder_pos_embed_learned", [1, mar.buffer_size + places, mar.encoder_embed_dim]],
    ["mar.decoder_pos_embed_learned", [1, mar.buffer_size + places, mar.decoder_embed_dim]],
    ["mar.diffusion_pos_embed_learned", [1, places, mar.decoder_embed_dim]],
  ]);
}

/** SigLIP2 (so400m, patch 16, 512 px), which no script calls, and a leftover of class-conditional MAR. */
function unusedTensors({ mar, llm }: UnipicConfig): Shapes {
  const [width, mlpWidth, layers, patches, patch] = [1152, 4304, 27, 1024, 16];
  const model = "siglip2.vision_model";
  const shapes = new Map<string, readonly number[]>([["mar.class_emb.weight", [1000, mar.encoder_embed_dim]]]);
  const linear = (key: string, [inputs, outputs]: readonly [number, number]): void => {
    shapes.set(`${key}.weight`, [outputs, inputs]).set(`${key}.bias`, [outputs]);
  };
  const norm = (key: string): unknown => shapes.set(`${key}.weight`, [width]).set(`${key}.bias`, [width]);
  const mlp = (key: string): void => {
    linear(`${key}.fc1`, [width, mlpWidth]);
    linear(`${key}.fc2`, [mlpWidth, width]);
  };
  shapes.set(`${model}.embeddings.patch_embedding.weight`, [width, 3, patch, patch]);
  shapes.set(`${model}.embeddings.patch_embedding.bias`, [width]);
  shapes.set(`${model}.embeddings.position_embedding.weight`, [patches, width]);
  for (let i = 0; i < layers; i++) {
    const layer = `${model}.encoder.layers.${i}`;
    for (const name of ["k_proj", "v_proj", "q_proj", "out_proj"]) linear(`${layer}.self_attn.${name}`, [width, width]);
    norm(`${layer}.layer_norm1`);
    mlp(`${layer}.mlp`);
    norm(`${layer}.layer_norm2`);
  }
  norm(`${model}.post_layernorm`);
  shapes.set(`${model}.head.probe`, [1, 1, width]);
  shapes.set(`${model}.head.attention.in_proj_weight`, [3 * width, width]);
  shapes.set(`${model}.head.attention.in_proj_bias`, [3 * width]);
  linear(`${model}.head.attention.out_proj`, [width, width]);
  norm(`${model}.head.layernorm`);
  mlp(`${model}.head.mlp`);
  linear("siglip2_proj.0", [width, llm.hidden_size]);
  linear("siglip2_proj.2", [llm.hidden_size, llm.hidden_size]);
  return shapes;
}
