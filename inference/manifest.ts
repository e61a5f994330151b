/**
 * What a built model folder contains. The build side writes it, the run side reads it, and they meet only here: a folder
 * without a manifest is not a model, and the manifest is written last.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

export const MANIFEST_FILE = "manifest.json";
export const WEIGHTS_FILE = "weights.bin";
const FORMAT = 4;

/** Graphs of a model. Each large weight belongs to exactly one of them. */
export const GRAPH_NAMES = [
  "mar-encoder",
  "llm",
  "llm-head",
  "mar-canvas",
  "mar-decoder",
  "diffusion-time",
  "diffusion-condition",
  "diffusion-head",
  "vae-encoder",
  "vae-decoder",
] as const;
export type GraphName = (typeof GRAPH_NAMES)[number];

/** Tensors of the weights file that are read directly, without a graph. */
const STORED_TENSORS = [
  "token_embeddings", // [vocabulary, llmWidth]
  "mask_token", // [1, 1, decoderWidth]
  "encoder_positions", // [bufferTokens + nativeGrid^2, encoderWidth]
  "decoder_positions", // [bufferTokens + nativeGrid^2, decoderWidth]
  "diffusion_positions", // [nativeGrid^2, decoderWidth]
] as const;
export type StoredTensorName = (typeof STORED_TENSORS)[number];

/** How the large weights of a model are stored and multiplied (model/precision.ts). */
export const DTYPES = ["float32", "int8", "float16", "bfloat16"] as const;
export type Dtype = (typeof DTYPES)[number];

const count = z.number().int().nonnegative();
const storedTensorSchema = z.object({ offset: count, shape: z.array(count) });

const manifestSchema = z.object({
  format: z.literal(FORMAT),
  preset: z.string(),
  dtype: z.enum(DTYPES),
  /** SHA-256 over the graphs and weights: equal digests compute equal numbers. */
  digest: z.string(),
  /** SHA-256 over what the folder was built from: checkpoint files, configuration and builder. */
  source: z.string(),
  /** Whether the rotary frequencies are rounded to bf16, as the released scripts effectively do. */
  ropeInvFreqBf16: z.boolean(),
  graphs: z.record(z.enum(GRAPH_NAMES), z.object({ file: z.string() })),
  tensors: z.record(z.enum(STORED_TENSORS), storedTensorSchema),
  dimensions: z.object({
    latentChannels: count,
    /** Pixels per latent, along each side. */
    vaeStride: count,
    bufferTokens: count,
    /** Side of the grid for which the position tables were trained. */
    nativeGrid: count,
    encoderWidth: count,
    decoderWidth: count,
    diffusionWidth: count,
    llmWidth: count,
    llmLayers: count,
    llmKeyHeads: count,
    llmHeadWidth: count,
    maxPositions: count,
  }),
  tokens: z.object({ image: count, eos: count }),
  /** Of answers, over the ids generated so far; 1 is none. */
  repetitionPenalty: z.number().positive(),
  prompt: z.object({
    /** With `{input}` where the input goes. */
    template: z.string(),
    textToImagePrefix: z.string(),
    textToImageUnconditional: z.string(),
    imageEditUnconditional: z.string(),
  }),
  defaults: z.object({
    /** Picture side in pixels. */
    size: count,
    steps: count,
    /** In the notation of the original: "100", "10,5,20" or "ddim50". */
    diffusionSteps: z.string(),
    guidanceScale: z.number(),
    editGuidanceScale: z.number(),
    temperature: z.number(),
  }),
  /** Tokenizer files are present; without them only token ids can be given. */
  hasTokenizer: z.boolean(),
  /** Linear map from a scaled latent to RGB in 0..1: [3][latentChannels + 1], the last column is the offset. */
  latentPreview: z.array(z.array(z.number())),
});

export type Manifest = z.infer<typeof manifestSchema>;

/** The manifest of a built model folder; throws a clear error when the folder is not one, or of another version. */
export function loadManifest(folder: string): Manifest {
  let text: string;
  try {
    text = readFileSync(join(folder, MANIFEST_FILE), "utf8");
  } catch (cause) {
    throw new Error(
      `${folder} is not a built model: it has no ${MANIFEST_FILE}. Build it first: ${buildCommand(folder)}`,
      {
        cause,
      },
    );
  }
  const refuse = (problem: string, cause?: unknown): never => {
    const file = join(folder, MANIFEST_FILE);
    throw new Error(`${file} ${problem}. Build the model again: ${buildCommand(folder)}`, { cause });
  };
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    return refuse("is damaged: it is not valid JSON", cause);
  }
  const format = z.object({ format: z.unknown() }).safeParse(content).data?.format;
  if (format !== FORMAT) {
    const found = format === undefined ? "names no format" : `has format ${JSON.stringify(format)}`;
    return refuse(`${found}; this version of Atelier reads format ${FORMAT}`);
  }
  const parsed = manifestSchema.safeParse(content);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map(describeIssue).join(", ");
  return refuse(`does not fit this version of Atelier (${fields})`, parsed.error);
}

const describeIssue = ({ path, ...issue }: z.core.$ZodIssue): string =>
  path.join(".") + (issue.code === "invalid_value" ? `: one of ${issue.values.join(", ")}` : "");

/** What a user types to build the model folder. */
export const buildCommand = (folder: string): string =>
  `npm run atelier -- model build <checkpoint folder> --out ${folder}`;
