/**
 * A picture and a question to an answer, word by word.
 *
 *     for await (const event of imageToText(unipic, request, { signal })) {
 *       if (event.kind === "text") process.stdout.write(event.text);
 *     }
 *
 * The picture goes through the MAR encoder, not through SigLIP2, which no released script calls.
 * Source: scripts/image2text.py of SkyworkAI/UniPic, UniPic-1 (model-spec 8).
 */
import { padToSquare, resizeBicubic } from "../image/resize.ts";
import type { RgbImage } from "../image/rgb-image.ts";
import type { LoadedModel } from "../runtime/loaded-model.ts";
import type { Grid } from "../runtime/position-tables.ts";
import { float32, valuesOf } from "../runtime/tensor.ts";
import { gridOf, requireText, type Unipic } from "./drawing.ts";
import { imagePrompt } from "./image-prompt.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { embedPrompt, type Reading, readOn } from "./prefix.ts";
import { encodePixels, encodeTokens } from "./source-picture.ts";

const DEFAULT_MAX_TOKENS = 1024;
/** The grey that fills a picture up to a square. */
const PADDING = 127;

export interface ImageToTextRequest {
  /** Padded to a square with grey and resized to `size`. */
  readonly image: RgbImage;
  readonly question: string;
  /** Side in pixels at which the picture is looked at; a multiple of the VAE's stride. */
  readonly size: number;
  /** An answer that is not finished then is cut off; 1024, or what the model has room for, unless given. */
  readonly maxTokens?: number;
}

export type ImageToTextEvent =
  /** The first one: the request was accepted. */
  | { readonly kind: "started" }
  /** Words, and the ids of all tokens so far. */
  | { readonly kind: "text"; readonly text: string; readonly ids: readonly number[] }
  | { readonly kind: "end"; readonly reason: "stop" | "length"; readonly tokens: number };

/**
 * The most likely token each time; text comes as soon as its characters are complete.
 *
 * @param from ids that an earlier run of the same request generated; their text comes first
 */
export async function* imageToText(
  unipic: Unipic,
  request: ImageToTextRequest,
  { from = [], signal }: { from?: readonly number[]; signal: AbortSignal },
): AsyncGenerator<ImageToTextEvent> {
  const { model, tokenizer } = unipic;
  const { grid, prompt, maxTokens } = prepareImageToText(unipic, request);
  yield { kind: "started" };
  const size = { width: request.size, height: request.size };
  const picture = resizeBicubic(padToSquare(request.image, PADDING), size);
  const features = await encodeTokens(model, await encodePixels(model, picture), grid);
  signal.throwIfAborted();
  const stop = model.manifest.tokens.eos;
  const ids = [...from];
  let pending = ids.slice();
  let isStopped = false;
  for await (const id of answerIds(model, embedPrompt(model, prompt, features.embeddings), { maxTokens, from })) {
    signal.throwIfAborted();
    ids.push(id);
    isStopped = id === stop;
    if (isStopped) break;
    pending.push(id);
    const text = tokenizer.decode(pending);
    if (text.endsWith("\ufffd") || text === "") continue; // a character whose bytes are not all there
    yield { kind: "text", text, ids: ids.slice() };
    pending = [];
  }
  const rest = tokenizer.decode(pending);
  if (rest !== "") yield { kind: "text", text: rest, ids: ids.slice() };
  yield { kind: "end", reason: isStopped ? "stop" : "length", tokens: ids.length };
}

/**
 * Greedy, with the model's penalty on ids that were generated already; ends with the stop id, or after `maxTokens`.
 *
 * prompt: [tokens, llmWidth] embeddings; `from`: ids that were generated before, which are not repeated
 */
export async function* answerIds(
  model: LoadedModel,
  prompt: Float32Array,
  options: { maxTokens: number; from?: readonly number[]; onLogits?: (logits: Float32Array) => void },
): AsyncGenerator<number> {
  const { repetitionPenalty, tokens } = model.manifest;
  const { maxTokens, from = [], onLogits } = options;
  const generated = new Set(from);
  let reading = await readOn(model, prompt);
  let embeds = model.embed(from);
  for (let count = from.length; count < maxTokens; count++) {
    reading = await readOn(model, embeds, reading);
    const logits = await logitsOf(model, reading);
    onLogits?.(logits);
    const id = likeliest(logits, generated, repetitionPenalty);
    yield id;
    if (id === tokens.eos) return;
    generated.add(id);
    embeds = model.embed([id]);
  }
}

/** [vocabulary] */
async function logitsOf(model: LoadedModel, { hidden }: Reading): Promise<Float32Array> {
  const { logits } = await model.run("llm-head", { hidden: float32(hidden, [1, hidden.length]) }, ["logits"]);
  return valuesOf(logits);
}

/** Positive logits of generated ids are divided by the penalty, negative ones multiplied, in fp32; the first of equals. */
function likeliest(logits: Float32Array, generated: ReadonlySet<number>, penalty: number): number {
  let best = 0;
  let highest = Number.NEGATIVE_INFINITY;
  for (const [id, logit] of logits.entries()) {
    const value = generated.has(id) ? Math.fround(logit < 0 ? logit * penalty : logit / penalty) : logit;
    if (value > highest) [best, highest] = [id, value];
  }
  return best;
}

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can answer it. */
function prepareImageToText(
  unipic: Unipic,
  { question, size, ...request }: Omit<ImageToTextRequest, "image">,
): { readonly grid: Grid; readonly prompt: readonly number[]; readonly maxTokens: number } {
  requireText(question, "question", "Say what to answer.");
  const grid = gridOf(unipic, { width: size, height: size });
  const prompt = imagePrompt(unipic, question, grid);
  const room = unipic.model.manifest.dimensions.maxPositions - prompt.length;
  const maxTokens = request.maxTokens ?? Math.min(DEFAULT_MAX_TOKENS, Math.max(1, room));
  if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > room) {
    throw new InvalidRequestError(
      room < 1
        ? `The question has ${prompt.length} tokens with its picture, more than the model reads. Shorten it.`
        : `An answer of ${maxTokens} tokens is not possible here: use 1 to ${room}.`,
    );
  }
  return { grid, prompt, maxTokens };
}
