/** How many threads an operator is worth. */
import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { WEIGHTS_FILE } from "../manifest.ts";

/**
 * Below this, handing work to other threads costs more than it gains: the tiny preset (14 MB) takes 172 ms a picture on
 * one thread and 276 ms on two (bench/text-to-image.ts, on a two-core machine with other load).
 */
const SMALL_MODEL_BYTES = 256 * 1024 * 1024;

/** The threads to use for a built model unless the operator says otherwise. */
export const threadsFor = (modelFolder: string): number => (isSmallModel(modelFolder) ? 1 : availableParallelism());

/** Its operators take so little time that what surrounds them counts. */
export const isSmallModel = (modelFolder: string): boolean =>
  sizeOf(join(modelFolder, WEIGHTS_FILE)) < SMALL_MODEL_BYTES;

/** 0 for a file that is not there: whoever loads the model says so better. */
const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
