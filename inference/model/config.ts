/**
 * Dimensions of a UniPic model: `unipic.json` in a checkpoint folder. Keys keep the names of the published
 * configuration; what is absent has the published value. The published checkpoint carries no such file:
 * the defaults describe it (configs/models/qwen2_5_1_5b_kl16_mar_h.py and the stock Qwen2.5-1.5B-Instruct config).
 */
import { z } from "zod";

const positive = z.number().int().positive();

const vaeSchema = z.object({
  embed_dim: positive.default(16),
  ch: positive.default(128),
  ch_mult: z.array(positive).min(1).default([1, 1, 2, 2, 4]),
  num_res_blocks: positive.default(2),
  num_groups: positive.default(32),
  in_channels: z.literal(3).default(3),
  out_ch: z.literal(3).default(3),
  /** Nominal picture side; halved from level to level, it decides which levels carry attention, whatever the real size. */
  resolution: positive.default(256),
  attn_resolutions_encoder: z.array(positive).default([16]),
  attn_resolutions_decoder: z.array(positive).default([]),
});

const marSchema = z.object({
  patch_size: z.literal(1).default(1),
  vae_embed_dim: positive.default(16),
  norm_eps: z.number().positive().default(1e-6),
  /** Picture side for which the position tables were trained, in pixels. */
  img_size: positive.default(512),
  vae_stride: positive.default(16),
  encoder_embed_dim: positive.default(1280),
  encoder_depth: positive.default(20),
  encoder_num_heads: positive.default(16),
  decoder_embed_dim: positive.default(1280),
  decoder_depth: positive.default(20),
  decoder_num_heads: positive.default(16),
  mlp_ratio: z.number().positive().default(4),
  buffer_size: positive.default(64),
  diffloss_d: positive.default(12),
  diffloss_w: positive.default(1536),
  /** Steps of the diffusion sampler, in the notation of the original: "100", "10,5,20" or "ddim50". */
  num_sampling_steps: z.string().default("100"),
});

const llmSchema = z.object({
  hidden_size: positive.default(1536),
  intermediate_size: positive.default(8960),
  num_hidden_layers: positive.default(28),
  num_attention_heads: positive.default(12),
  num_key_value_heads: positive.default(2),
  vocab_size: positive.default(151936),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().default(1e6),
  max_position_embeddings: positive.default(32768),
  /** Round the rotary frequencies to bf16 first, as the released scripts effectively do. */
  rope_inv_freq_bf16: z.boolean().default(true),
});

const promptSchema = z.object({
  template: z.string().includes("{input}").default("<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n"),
  text_to_image_prefix: z.string().default("Generate an image: "),
  text_to_image_unconditional: z.string().default("Generate an image."),
  image_edit_unconditional: z.string().default("Repeat this image."),
});

const defaultsSchema = z.object({
  size: positive.default(1024),
  steps: positive.default(32),
  guidance_scale: z.number().default(3),
  /** Of edits; that of drawings unless given. */
  edit_guidance_scale: z.number().optional(),
  temperature: z.number().default(1),
});

const unipicConfigSchema = z
  .object({
    name: z.string().default("unipic-1.5b"),
    vae: vaeSchema.prefault({}),
    vae_scale: z.number().positive().default(0.2325),
    mar: marSchema.prefault({}),
    llm: llmSchema.prefault({}),
    image_token_id: z.number().int().nonnegative().default(151665),
    eos_token_id: z.number().int().nonnegative().default(151645),
    prompt: promptSchema.prefault({}),
    defaults: defaultsSchema.optional(),
  })
  .check(({ value, issues }) => {
    const require = (holds: boolean, path: string, message: string): void => {
      if (!holds) issues.push({ code: "custom", input: value, path: path.split("."), message });
    };
    const { vae, mar, llm } = value;
    const stride = 2 ** (vae.ch_mult.length - 1);
    require(mar.vae_stride ===
      stride, "mar.vae_stride", `must be ${stride}, the stride of a VAE with ${vae.ch_mult.length} levels`);
    require(mar.vae_embed_dim === vae.embed_dim, "mar.vae_embed_dim", `must equal vae.embed_dim (${vae.embed_dim})`);
    require(mar.img_size % stride === 0, "mar.img_size", `must be a multiple of ${stride}`);
    require(mar.encoder_embed_dim % mar.encoder_num_heads ===
      0, "mar.encoder_num_heads", "must divide encoder_embed_dim");
    require(mar.decoder_embed_dim % mar.decoder_num_heads ===
      0, "mar.decoder_num_heads", "must divide decoder_embed_dim");
    require(llm.hidden_size % llm.num_attention_heads === 0, "llm.num_attention_heads", "must divide hidden_size");
    require(llm.num_attention_heads % llm.num_key_value_heads ===
      0, "llm.num_key_value_heads", "must divide num_attention_heads");
    require(value.image_token_id < llm.vocab_size, "image_token_id", "must be below llm.vocab_size");
    for (const [level, multiplier] of vae.ch_mult.entries()) {
      require((vae.ch * multiplier) % vae.num_groups ===
        0, `vae.ch_mult.${level}`, `num_groups (${vae.num_groups}) must divide ch * ch_mult`);
    }
  });

export type UnipicConfig = z.infer<typeof unipicConfigSchema>;
export type VaeConfig = UnipicConfig["vae"];
export type MarConfig = UnipicConfig["mar"];
export type LlmConfig = UnipicConfig["llm"];

/** Checks the content of a `unipic.json`; errors name the keys. `source` says in errors where it came from. */
export const parseUnipicConfig = (content: unknown, source: string): UnipicConfig =>
  parseConfig(unipicConfigSchema, content, source);

export function parseConfig<T>(schema: z.ZodType<T>, content: unknown, source: string): T {
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => (path.length > 0 ? `${path.join(".")}: ` : "") + message,
  );
  throw new Error(`${source} does not describe a UniPic model: ${problems.join("; ")}`);
}
