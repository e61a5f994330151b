/** A prompt as the language model remembers it: the keys and values of its tokens, for every layer. */
import type { LoadedModel } from "../runtime/loaded-model.ts";
import { float32, int64, type Tensor, valuesOf } from "../runtime/tensor.ts";

/** One row of the KV cache. */
export interface Prefix {
  /** Tokens. */
  readonly length: number;
  /** Per layer: [KV, length, headWidth] */
  readonly keys: readonly Float32Array[];
  readonly values: readonly Float32Array[];
}

/** Reads a prompt once: positions 0..length-1, causal, no padding. */
export async function prefill(model: LoadedModel, ids: readonly number[]): Promise<Prefix> {
  const { llmLayers, llmKeyHeads, llmHeadWidth, llmWidth } = model.manifest.dimensions;
  const layers = Array.from({ length: llmLayers }, (_, i) => i);
  const noPast = (): Tensor => float32(new Float32Array(0), [1, llmKeyHeads, 0, llmHeadWidth]);
  const results = await model.run(
    "llm",
    {
      embeds: float32(model.embed(ids), [1, ids.length, llmWidth]),
      past_lengths: int64([0], [1]),
      ...Object.fromEntries(
        layers.flatMap((i) => [
          [`past.${i}.key`, noPast()],
          [`past.${i}.value`, noPast()],
        ]),
      ),
    },
    layers.flatMap((i) => [`present.${i}.key`, `present.${i}.value`]),
  );
  const row = (name: string): Float32Array => {
    const tensor = results[name];
    if (tensor === undefined) throw new Error(`the llm graph gave no ${name}`);
    return valuesOf(tensor);
  };
  return {
    length: ids.length,
    keys: layers.map((i) => row(`present.${i}.key`)),
    values: layers.map((i) => row(`present.${i}.value`)),
  };
}

/** The `past.*` inputs of the llm graph for some rows, padded on the right to the longest; the graph masks the padding. */
export function pastOf(model: LoadedModel, rows: readonly Prefix[]): Record<string, Tensor> {
  const { llmKeyHeads, llmHeadWidth } = model.manifest.dimensions;
  const longest = Math.max(...rows.map(({ length }) => length));
  const dims = [rows.length, llmKeyHeads, longest, llmHeadWidth];
  const stack = (caches: readonly Float32Array[]): Tensor => {
    const stacked = new Float32Array(rows.length * llmKeyHeads * longest * llmHeadWidth);
    for (const [row, cache] of caches.entries()) {
      const span = (rows[row]?.length ?? 0) * llmHeadWidth;
      for (let head = 0; head < llmKeyHeads; head++) {
        const target = (row * llmKeyHeads + head) * longest * llmHeadWidth;
        stacked.set(cache.subarray(head * span, (head + 1) * span), target);
      }
    }
    return float32(stacked, dims);
  };
  const layer = (kind: "keys" | "values", i: number): Tensor =>
    stack(rows.map((prefix) => prefix[kind][i] ?? new Float32Array(0)));
  const layers = Array.from({ length: model.manifest.dimensions.llmLayers }, (_, i) => i);
  return {
    past_lengths: int64(
      rows.map(({ length }) => length),
      [rows.length],
    ),
    ...Object.fromEntries(
      layers.flatMap((i) => [
        [`past.${i}.key`, layer("keys", i)],
        [`past.${i}.value`, layer("values", i)],
      ]),
    ),
  };
}
