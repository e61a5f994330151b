/**
 * A checkpoint folder like the published one: its names, shapes, element types and containers, with random values whose
 * scale keeps activations near those of a trained model. Its pictures are noise; everything else is real.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseUnipicConfig } from "../../inference/model/config.ts";
import { normalOf } from "../../inference/sampling/normal.ts";
import { philox } from "../../inference/sampling/philox.ts";
import { type Node, pickle, tensorNode } from "../../test/checkpoint/pickle-writer.ts";
import { writeZip, type ZipEntry } from "../../test/checkpoint/zip-writer.ts";
import { type Shapes, tensorShapes } from "./tensor-shapes.ts";

const TINY = "inference/presets/tiny/Qwen2.5-1.5B-Instruct";
const LLM_FOLDER = "Qwen2.5-1.5B-Instruct";
/** The ids of Qwen2.5; `<image>` is UniPic's own. */
const SPECIAL_TOKENS: Readonly<Record<string, number>> = {
  "<|endoftext|>": 151643,
  "<|im_start|>": 151644,
  "<|im_end|>": 151645,
  "<image>": 151665,
};

const FIRST_SPECIAL_TOKEN = 151643;

/**
 * Writes into the empty folder `folder`.
 *
 * @param difference what its unipic.json says; without one it has the published dimensions
 */
export function writeSyntheticCheckpoint(folder: string, difference?: Readonly<Record<string, object>>): void {
  const config = parseUnipicConfig({ defaults: {}, ...difference }, "the published configuration");
  if (difference !== undefined) writeFileSync(join(folder, "unipic.json"), JSON.stringify(difference));
  const shapes = tensorShapes(config);
  writeTorchZip(join(folder, "pytorch_model.bin"), stateDict(shapes, "bfloat16"));
  const vae = new Map([...shapes].flatMap(([key, shape]) => (key.startsWith("vae.") ? [[key.slice(4), shape]] : [])));
  const { top, entries } = stateDict(vae, "float32");
  writeTorchZip(join(folder, "kl16.ckpt"), { top: new Map<Node, Node>([["model", top]]), entries });
  writeLlmFolder(join(folder, LLM_FOLDER));
}

type ElementType = "bfloat16" | "float32";

interface StateDict {
  readonly top: Node;
  readonly entries: readonly ZipEntry[];
}

function stateDict(shapes: Shapes, type: ElementType): StateDict {
  const entries: ZipEntry[] = [];
  const tensors = [...shapes].map(([name, shape], index): [Node, Node] => {
    const storedCount = shape.reduce((product, dim) => product * dim, 1);
    entries.push({ name: `archive/data/${index}`, content: () => valuesOf(name, shape, { index, type }) });
    const storage = type === "bfloat16" ? "BFloat16Storage" : "FloatStorage";
    return [name, tensorNode({ key: String(index), storage, storedCount, shape, strides: stridesOf(shape) })];
  });
  return { top: new Map(tensors), entries };
}

const writeTorchZip = (file: string, { top, entries }: StateDict): void =>
  writeZip(file, [
    { name: "archive/data.pkl", content: pickle(top) },
    ...entries,
    { name: "archive/version", content: Buffer.from("3\n") },
  ]);

const stridesOf = (shape: readonly number[]): number[] =>
  shape.map((_, axis) => shape.slice(axis + 1).reduce((product, dim) => product * dim, 1));

/** Little-endian. Tensors are parts of one block of random numbers, each from a place of its own. */
function valuesOf(
  name: string,
  shape: readonly number[],
  { index, type }: { index: number; type: ElementType },
): Uint8Array {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const { mean, deviation } = distributionOf(name, shape);
  const block = scaledBlock(mean, deviation, type);
  const values = type === "bfloat16" ? new Uint16Array(count) : new Float32Array(count);
  let start = (index * 7919) % block.length;
  for (let done = 0; done < count; start = 0) {
    const part = block.subarray(start, start + count - done);
    values.set(part, done);
    done += part.length;
  }
  return new Uint8Array(values.buffer);
}

/** Norms near 1, no biases to speak of, and products that keep the variance of what goes in. */
function distributionOf(name: string, shape: readonly number[]): { mean: number; deviation: number } {
  const isNorm = /norm|_ln\./.test(name);
  if (shape.length < 2) return { mean: isNorm && name.endsWith("weight") ? 1 : 0, deviation: 0.01 };
  if (/embed_tokens|pos_embed|mask_token|fake_latent|class_emb/.test(name)) return { mean: 0, deviation: 0.02 };
  const inputs = shape.slice(1).reduce((product, dim) => product * dim, 1);
  return { mean: 0, deviation: 1 / Math.sqrt(inputs) };
}

const BLOCK_LENGTH = 2 ** 22;
const blocks = new Map<string, Uint16Array | Float32Array>();
let normals: Float32Array | undefined;

function scaledBlock(mean: number, deviation: number, type: ElementType): Uint16Array | Float32Array {
  const key = `${mean} ${deviation} ${type}`;
  const known = blocks.get(key);
  if (known !== undefined) return known;
  normals ??= randomNormals(BLOCK_LENGTH);
  const values = normals.map((value) => mean + deviation * value);
  // The upper half of a float32 is a bfloat16, rounded towards zero.
  const block = type === "float32" ? values : Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  blocks.set(key, block);
  return block;
}

function randomNormals(count: number): Float32Array {
  const values = new Float32Array(count);
  const words = new Uint32Array(4);
  for (let i = 0; i < count; i += 4) {
    philox([2025, 0], [i, 0, 0, 0], words);
    for (const [j, word] of words.entries()) values[i + j] = normalOf(word);
  }
  return values;
}

/** The tiny preset's tokenizer with the real one's number of words and the ids of its special tokens. */
function writeLlmFolder(folder: string): void {
  mkdirSync(folder);
  const { added_tokens, model, ...rest } = readJson(join(TINY, "tokenizer.json")) as TokenizerFile;
  for (let id = Object.keys(model.vocab).length; id < FIRST_SPECIAL_TOKEN; id++) model.vocab[`word${id}`] = id;
  const special = added_tokens.map((token) => ({ ...token, id: SPECIAL_TOKENS[token.content] ?? token.id }));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...rest, model, added_tokens: special }));
  const config = readJson(join(TINY, "tokenizer_config.json")) as object;
  const decoder = Object.fromEntries(special.map(({ id, ...token }) => [id, token]));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ ...config, added_tokens_decoder: decoder }));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ repetition_penalty: 1.1 }));
}

interface TokenizerFile {
  readonly added_tokens: readonly { readonly content: string; readonly id: number }[];
  readonly model: { readonly vocab: Record<string, number> };
}

const readJson = (file: string): unknown => JSON.parse(readFileSync(file, "utf8"));
