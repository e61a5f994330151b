/** Which weights a build stores and multiplies in its dtype, and which always in fp32. */
import type { MatrixFormat } from "../graph/number-formats.ts";
import type { Dtype } from "../manifest.ts";

/**
 * The layers of the repeated blocks: those of the language model, of both halves of MAR, and of the diffusion head. All
 * else (embeddings, norms, biases, attention scores, the autoencoder, first and last layers) is small or sensitive.
 */
const REPEATED_BLOCKS = /^(llm\.model\.layers|mar\.(encoder|decoder)_blocks|mar\.diffloss\.net\.res_blocks)\.\d+\./;

/** The format of the weight known to the checkpoint as `key`. */
export const formatIn =
  (dtype: Dtype) =>
  (key: string): MatrixFormat =>
    REPEATED_BLOCKS.test(key) ? dtype : "float32";
