/** The prompts of a batch: the original's JSON list, or one JSON object a line. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { systemReason } from "./system-reason.ts";

/** Keys beside `prompt` are carried along. */
const sampleSchema = z.looseObject({
  prompt: z.string({ error: 'has no "prompt"' }).refine((text) => text.trim() !== "", 'has an empty "prompt"'),
});
export type Sample = z.infer<typeof sampleSchema>;

const EXAMPLE = '[{"prompt": "a star"}], or one {"prompt": "a star"} a line';

export function readSamples(file: string): readonly Sample[] {
  const text = read(file);
  const entries = text.trimStart().startsWith("[") ? ofList(text, file) : ofLines(text, file);
  if (entries.length === 0) throw new Error(`${file} is empty. Give it ${EXAMPLE}.`);
  return entries.map(({ value, place }) => {
    const parsed = sampleSchema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    const problem = issue?.path.length ? issue.message : "is no object";
    throw new Error(`${file}: ${place} ${problem}. Give it ${EXAMPLE}.`, { cause: parsed.error });
  });
}

interface Entry {
  readonly value: unknown;
  readonly place: string;
}

function ofList(text: string, file: string): readonly Entry[] {
  const list: unknown = parse(text, file);
  if (!Array.isArray(list)) throw new Error(`${file} is not a list. Give it ${EXAMPLE}.`);
  return list.map((value, index) => ({ value, place: `entry ${index}` }));
}

function ofLines(text: string, file: string): readonly Entry[] {
  const lines = text.split("\n").map((line, index) => ({ line, place: `line ${index + 1}` }));
  return lines
    .filter(({ line }) => line.trim() !== "")
    .map(({ line, place }) => ({ value: parse(line, `${file}, ${place}`), place }));
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${place} is not valid JSON: ${reason}. Give it ${EXAMPLE}.`, { cause });
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new Error(`${file} cannot be read: ${systemReason(cause)}.`, { cause });
  }
}
