/** A checkpoint folder in the published layout: which files hold the weights, the configuration and the tokenizer. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { openCheckpoint } from "../checkpoint/open-checkpoint.ts";
import { parseConfig, parseUnipicConfig, type UnipicConfig } from "./config.ts";
import type { TensorSource } from "./parameters.ts";

const LLM_FOLDER = "Qwen2.5-1.5B-Instruct";
const CONFIG_FILE = "unipic.json";
const VAE_FILE = "kl16.ckpt";
const MODEL_FILES = [
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
  "model.safetensors",
  "model.safetensors.index.json",
];
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"];

/** Keys of the language model's own config.json that a unipic.json without them takes over. */
const llmFileSchema = z
  .object({
    hidden_size: z.number(),
    intermediate_size: z.number(),
    num_hidden_layers: z.number(),
    num_attention_heads: z.number(),
    num_key_value_heads: z.number(),
    vocab_size: z.number(),
    rms_norm_eps: z.number(),
    rope_theta: z.number(),
    max_position_embeddings: z.number(),
  })
  .partial();

/** What of the language model's generation_config.json holds for greedy answers. */
const generationSchema = z.object({ repetition_penalty: z.number().positive().default(1) });

export interface CheckpointFolder {
  readonly path: string;
  readonly config: UnipicConfig;
  /** Of the language model's generation_config.json; 1 where there is none. */
  readonly repetitionPenalty: number;
  /** Every file that a built model depends on. */
  readonly files: readonly string[];
  /** Where the tokenizer is, or should be. */
  readonly tokenizerFolder: string;
  /** Empty when the folder has no tokenizer. */
  readonly tokenizerFiles: readonly string[];
  /** Opens the weights; the caller closes them. */
  open(): readonly TensorSource[];
}

/** @param configFile a unipic.json elsewhere; the folder's own, or else the published dimensions, unless given. */
export function findCheckpointFolder(path: string, configFile?: string): CheckpointFolder {
  if (!existsSync(path) || !statSync(path).isDirectory()) {
    throw new Error(
      `There is no checkpoint folder at ${path}. Name the folder that holds pytorch_model.bin and ${VAE_FILE}.`,
    );
  }
  const inFolder = (name: string): string | undefined => [join(path, name)].find(existsSync);
  const model = MODEL_FILES.map(inFolder).find((file) => file !== undefined);
  if (model === undefined) throw new Error(`${path} holds no weights: one of ${MODEL_FILES.join(", ")} is needed.`);
  const vae = inFolder(VAE_FILE);
  const llm = MODEL_FILES.map((name) => inFolder(join(LLM_FOLDER, name))).find((file) => file !== undefined);
  const configuration = configFile ?? inFolder(CONFIG_FILE);
  const llmConfiguration = inFolder(join(LLM_FOLDER, "config.json"));
  const generation = inFolder(join(LLM_FOLDER, "generation_config.json"));
  const tokenizerFiles = TOKENIZER_FILES.map((name) => inFolder(join(LLM_FOLDER, name))).filter(
    (file) => file !== undefined,
  );
  const hasTokenizer = tokenizerFiles.length === TOKENIZER_FILES.length;
  return {
    path,
    config: loadConfig(configuration, llmConfiguration),
    repetitionPenalty: generation === undefined ? 1 : loadGeneration(generation).repetition_penalty,
    files: [
      model,
      ...shardsOf(model),
      vae,
      ...(llm === undefined ? [] : [llm, ...shardsOf(llm)]),
      configuration,
      llmConfiguration,
      generation,
      ...tokenizerFiles,
    ].filter((file) => file !== undefined),
    tokenizerFolder: join(path, LLM_FOLDER),
    tokenizerFiles: hasTokenizer ? tokenizerFiles : [],
    open: () => openWeights(model, { vae, llm }),
  };
}

/** The files that an index may list: all with its ending. */
function shardsOf(model: string): readonly string[] {
  const [, ending] = /(\.bin|\.safetensors)\.index\.json$/.exec(model) ?? [];
  if (ending === undefined) return [];
  const folder = dirname(model);
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(folder, name));
}

/**
 * Where the model file has no tensor of a part, the part's own file is used; `vae.*` and `llm.*` keys in the model file
 * stand in for theirs.
 */
function openWeights(
  model: string,
  { vae, llm }: { vae: string | undefined; llm: string | undefined },
): readonly TensorSource[] {
  const main = { checkpoint: openCheckpoint(model), prefix: "" };
  const sources: TensorSource[] = [main];
  const lacks = (prefix: string): boolean => !main.checkpoint.names.some((name) => name.startsWith(prefix));
  try {
    if (lacks("vae.")) {
      if (vae === undefined)
        throw new Error(`${VAE_FILE} is missing beside ${model}, which has no vae.* tensors. Download it too.`);
      sources.push({ checkpoint: openCheckpoint(vae, { root: "model" }), prefix: "vae." });
    }
    if (lacks("llm.")) {
      if (llm === undefined) {
        throw new Error(
          `${model} has no llm.* tensors, and ${LLM_FOLDER} beside it no weights. Download that folder's model.safetensors.`,
        );
      }
      sources.push({ checkpoint: openCheckpoint(llm), prefix: "llm." });
    }
    return sources;
  } catch (error) {
    for (const { checkpoint } of sources) checkpoint.close();
    throw error;
  }
}

/** unipic.json decides; what it leaves out of `llm` comes from the language model's config.json, then from the published values. */
function loadConfig(file: string | undefined, llmFile: string | undefined): UnipicConfig {
  const own: unknown = file === undefined ? { defaults: {} } : parseJson(readText(file), file);
  const llm = llmFile === undefined ? {} : parseConfig(llmFileSchema, parseJson(readText(llmFile), llmFile), llmFile);
  const source = file ?? llmFile ?? "the published configuration";
  const object = parseConfig(z.looseObject({ llm: z.looseObject({}).default({}) }), own, source);
  return parseUnipicConfig({ ...object, llm: { ...llm, ...object.llm } }, source);
}

const loadGeneration = (file: string): z.infer<typeof generationSchema> =>
  parseConfig(generationSchema, parseJson(readText(file), file), file);

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new Error(`Cannot read ${file}. Check that it exists and that you may read it.`, { cause });
  }
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file} is not valid JSON. Restore the file that came with the checkpoint.`, { cause });
  }
}
