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
  /** By grid, what the first step makes of it at every place while no token is known: [N, D]. Filled when it is needed. */
  readonly firstSteps: Map<string, Float32Array>;
}

/** A prefix as the tensors that the next run takes, and what the last token led to. */
export interface Reading {
  /** Tokens. */
  readonly length: number;
  /** `past.{layer}.key` and `past.{layer}.value`: [1, KV, length, headWidth] */
  readonly past: Readonly<Record<string, Tensor>>;
  /** Of the last token, after the last norm: [llmWidth] */
  readonly hidden: Float32Array;
}

/**
 * Tokens read in one run of the graph. Attention scores of a picture of 1024 px (4160 tokens) would take 0.8 GB at
 * once; a row of scores depends on no later token, so the result is the same.
 */
const TOKENS_PER_RUN = 512;

/** Reads one row of embeddings [tokens, llmWidth] behind what was read `before`: causal, no padding. */
export async function readOn(model: LoadedModel, embeds: Float32Array, before?: Reading): Promise<Reading> {
  const { llmWidth } = model.manifest.dimensions;
  const span = TOKENS_PER_RUN * llmWidth;
  let reading = before ?? nothingRead(model);
  for (let start = 0; start < embeds.length; start += span) {
    reading = await readChunk(model, embeds.subarray(start, start + span), reading);
  }
  return reading;
}

async function readChunk(model: LoadedModel, embeds: Float32Array, before: Reading): Promise<Reading> {
  const { llmWidth } = model.manifest.dimensions;
  const count = embeds.length / llmWidth;
  const feeds = {
    embeds: float32(embeds, [1, count, llmWidth]),
    past_lengths: int64([before.length], [1]),
    ...before.past,
  };
  const presentOf = (past: string): string => past.replace("past", "present");
  const results = await model.run("llm", feeds, ["hidden", ...Object.keys(before.past).map(presentOf)]);
  const result = (name: string): Tensor => {
    const tensor = results[name];
    if (tensor === undefined) throw new Error(`the llm graph gave no ${name}`);
    return tensor;
  };
  return {
    length: before.length + count,
    past: Object.fromEntries(Object.keys(before.past).map((name) => [name, result(presentOf(name))])),
    hidden: valuesOf(result("hidden")).slice((count - 1) * llmWidth),
  };
}

function nothingRead(model: LoadedModel): Reading {
  const { llmLayers, llmKeyHeads, llmHeadWidth } = model.manifest.dimensions;
  const empty = (): Tensor => float32(new Float32Array(0), [1, llmKeyHeads, 0, llmHeadWidth]);
  const names = Array.from({ length: llmLayers }, (_, i) => [`past.${i}.key`, `past.${i}.value`]).flat();
  return { length: 0, past: Object.fromEntries(names.map((name) => [name, empty()])), hidden: new Float32Array(0) };
}

/**
 * Reads a prompt once.
 *
 * @param features what stands for the image tokens among the ids, in order: [image tokens, llmWidth]
 */
export async function prefill(model: LoadedModel, ids: readonly number[], features?: Float32Array): Promise<Prefix> {
  return prefixOf(model, await readOn(model, embedPrompt(model, ids, features)));
}

/** The two sides of guidance. */
export interface Branches<T> {
  readonly conditional: T;
  /** Undefined without guidance. */
  readonly unconditional: T | undefined;
}

/**
 * Reads two prompts that begin alike; what they have in common is read once. Of an edit this is the picture: at 1024 px
 * 4160 tokens, 12.5 TFLOP that the unconditional branch does not repeat.
 */
export async function prefillBranches(
  model: LoadedModel,
  { conditional, unconditional }: Branches<readonly number[]>,
  features: Float32Array,
): Promise<Branches<Prefix>> {
  if (unconditional === undefined) {
    return { conditional: await prefill(model, conditional, features), unconditional: undefined };
  }
  const end = conditional.findIndex((id, i) => id !== unconditional[i]);
  const border = (end === -1 ? conditional.length : end) * model.manifest.dimensions.llmWidth;
  const common = await readOn(model, embedPrompt(model, conditional, features).subarray(0, border));
  const rest = async (ids: readonly number[]): Promise<Prefix> =>
    prefixOf(model, await readOn(model, embedPrompt(model, ids, features).subarray(border), common));
  return { conditional: await rest(conditional), unconditional: await rest(unconditional) };
}

function prefixOf(model: LoadedModel, { length, past }: Reading): Prefix {
  const layers = Array.from({ length: model.manifest.dimensions.llmLayers }, (_, i) => i);
  const row = (name: string): Float32Array => valuesOf(past[name] as Tensor);
  return {
    length,
    keys: layers.map((i) => row(`past.${i}.key`)),
    values: layers.map((i) => row(`past.${i}.value`)),
    firstSteps: new Map(),
  };
}

/** Embeddings of a prompt's tokens [ids, llmWidth]; image tokens are replaced by `features`, in order. */
export function embedPrompt(
  model: LoadedModel,
  ids: readonly number[],
  features: Float32Array = new Float32Array(0),
): Float32Array {
  const { llmWidth } = model.manifest.dimensions;
  const { image } = model.manifest.tokens;
  const imageTokens = ids.filter((id) => id === image).length;
  if (imageTokens * llmWidth !== features.length) {
    throw new Error(`the prompt has ${imageTokens} image tokens for ${features.length / llmWidth} features`);
  }
  const words = model.embed(ids.filter((id) => id !== image));
  const embeds = new Float32Array(ids.length * llmWidth);
  let word = 0;
  let feature = 0;
  for (const [row, id] of ids.entries()) {
    const [source, from] = id === image ? [features, feature++] : [words, word++];
    embeds.set(source.subarray(from * llmWidth, (from + 1) * llmWidth), row * llmWidth);
  }
  return embeds;
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
