/** Options of the commands that draw. */
import { Option } from "commander";
import { finiteNumber, seed, speed, wholeNumber } from "./option-values.ts";
import type { DrawingWish } from "./task-wish.ts";

/** Their values. */
export interface DrawingFlags extends Omit<DrawingWish, "count"> {
  readonly out: string;
  readonly preset?: string;
  readonly credentials?: string;
}

export const DRAWING_OPTIONS = [
  new Option("--preset <name>", "the model; may be left out while the server offers only one"),
  new Option(
    "--count <n>",
    "how many pictures; --out heart.png writes heart.png, heart-2.png, heart-3.png …",
  ).argParser(wholeNumber),
  new Option("--width <pixels>", "one of the preset's sizes, or any multiple of its step").argParser(wholeNumber),
  new Option("--height <pixels>", "one of the preset's sizes, or any multiple of its step").argParser(wholeNumber),
  new Option(
    "--steps <n>",
    "rounds in which the picture is uncovered, some patches in each; more take longer, cost more, and often look better",
  ).argParser(wholeNumber),
  new Option("--guidance-scale <scale>", "how strongly the picture follows the prompt; 1 turns guidance off").argParser(
    finiteNumber,
  ),
  new Option("--unconditional-prompt <text>", "what guidance leads away from"),
  new Option("--temperature <t>", "how freely details vary: below 1 calmer, above 1 wilder").argParser(finiteNumber),
  new Option(
    "--speed <name>",
    "exact, fast or faster: approximations that take less time for the same price",
  ).argParser(speed),
  new Option("--seed <n>", "the same seed and settings draw the same picture; random unless given").argParser(seed),
];
