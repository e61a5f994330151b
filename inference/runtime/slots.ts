/** How many attempts a worker takes at a time. */
import { isSmallModel } from "./threads.ts";

/**
 * On one thread a picture of the tiny preset costs 0.80 times the CPU time of one alone in a group of two, 0.66 times in
 * one of four (bench/group.ts). The larger the group, the longer everybody in it waits.
 */
const SMALL_MODEL_SLOTS = 4;

/** The slots of a worker unless the operator says otherwise. A large model has memory and threads for one. */
export const slotsFor = (modelFolder: string): number => (isSmallModel(modelFolder) ? SMALL_MODEL_SLOTS : 1);
