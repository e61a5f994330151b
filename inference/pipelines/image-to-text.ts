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
import { drawnToken, likeliestToken, penalize, type TokenSampling } from "../sampling/next-token.ts";
import { tokenFraction } from "../sampling/randomness.ts";
import { gridOf, requireText, type Unipic } from "./drawing.ts";
import { imagePrompt } from "./image-prompt.ts";
import { InvalidRequestError } from "./invalid-request.ts";
import { embedPrompt, type Reading, readOn } from "./prefix.ts";
import { encodePixels, encodeTokens } from "./source-picture.ts";
import { asStage, type OnStage, timeNow } from "./stages.ts";

const DEFAULT_MAX_TOKENS = 1024;
const MAX_TEMPERATURE = 10;
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
  /** Draws every token; the likeliest one is taken unless given. */
  readonly sampling?: AnswerSampling | undefined;
}

export interface AnswerSampling extends TokenSampling {
  /** Unsigned, 64 bits. */
  readonly seed: bigint;
}

export type ImageToTextEvent =
  /** The first one: the request was accepted. */
  | { readonly kind: "started" }
  /** Words, and the ids of all tokens so far. */
  | { readonly kind: "text"; readonly text: string; readonly ids: readonly number[] }
  | { readonly kind: "end"; readonly reason: "stop" | "length"; readonly tokens: number };

/**
 * Text comes as soon as its characters are complete.
 *
 * @param from ids that an earlier run of the same request generated; their text comes first
 */
export async function* imageToText(
  unipic: Unipic,
  request: ImageToTextRequest,
  { from = [], signal, onStage }: { from?: readonly number[]; signal: AbortSignal; onStage?: OnStage | undefined },
): AsyncGenerator<ImageToTextEvent> {
  const { model, tokenizer } = unipic;
  const { grid, prompt, maxTokens } = prepareImageToText(unipic, request);
  const { sampling } = request;
  yield { kind: "started" };
  const size = { width: request.size, height: request.size };
  const picture = resizeBicubic(padToSquare(request.image, PADDING), size);
  const features = await asStage(onStage, "encode source picture", async () =>
    encodeTokens(model, await encodePixels(model, picture), grid),
  );
  signal.throwIfAborted();
  const stop = model.manifest.tokens.eos;
  const ids = [...from];
  let pending = ids.slice();
  let isStopped = false;
  const embeddings = embedPrompt(model, prompt, features.embeddings);
  let startedAt = timeNow();
  const onPrefill: OnStage = (stage) => {
    startedAt = stage.endedAt;
    onStage?.(stage);
  };
  for await (const id of answerIds(model, embeddings, { maxTokens, from, sampling, onStage: onPrefill })) {
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
  onStage?.({ kind: "write answer", startedAt, endedAt: timeNow(), tokens: ids.length - from.length });
  yield { kind: "end", reason: isStopped ? "stop" : "length", tokens: ids.length };
}

export interface AnswerOptions {
  readonly maxTokens: number;
  /** Ids that were generated before, which are not repeated. */
  readonly from?: readonly number[];
  readonly sampling?: AnswerSampling | undefined;
  readonly onLogits?: (logits: Float32Array) => void;
  readonly onStage?: OnStage | undefined;
}

/**
 * With the model's penalty on ids that were generated already; ends with the stop id, or after `maxTokens`.
 *
 * prompt: [tokens, llmWidth] embeddings
 */
export async function* answerIds(
  model: LoadedModel,
  prompt: Float32Array,
  { maxTokens, from = [], sampling, onLogits, onStage }: AnswerOptions,
): AsyncGenerator<number> {
  const { repetitionPenalty, tokens } = model.manifest;
  const generated = new Set(from);
  let reading = await asStage(onStage, "prefill", () => readOn(model, prompt));
  let embeds = model.embed(from);
  for (let count = from.length; count < maxTokens; count++) {
    reading = await readOn(model, embeds, reading);
    const logits = await logitsOf(model, reading);
    onLogits?.(logits);
    penalize(logits, generated, repetitionPenalty);
    const id =
      sampling === undefined
        ? likeliestToken(logits)
        : drawnToken(logits, sampling, tokenFraction(sampling.seed, count));
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

/** What follows from a request before anything runs; throws an InvalidRequestError unless the model can answer it. */
function prepareImageToText(
  unipic: Unipic,
  { question, size, ...request }: Omit<ImageToTextRequest, "image">,
): { readonly grid: Grid; readonly prompt: readonly number[]; readonly maxTokens: number } {
  requireText(question, "question", "Say what to answer.");
  if (request.sampling !== undefined) checkSampling(request.sampling);
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

function checkSampling({ temperature, topP }: AnswerSampling): void {
  if (!(temperature > 0 && temperature <= MAX_TEMPERATURE)) {
    throw new InvalidRequestError(`temperature is ${temperature}; it must be above 0 and at most ${MAX_TEMPERATURE}.`);
  }
  if (!(topP > 0 && topP <= 1)) throw new InvalidRequestError(`topP is ${topP}; it must be above 0 and at most 1.`);
}
