/** A list of checks as it is stored. */
import { z } from "zod";
import type { ModerationLevel } from "../generated/prisma/enums.ts";
import { type Check, ModerationMode } from "./check.ts";
import { WordList } from "./word-list.ts";

const wordsSchema = z.object({
  kind: z.literal("WORDS"),
  /** Unique in its list. */
  name: z.string(),
  mode: z.enum(ModerationMode),
  words: z.array(z.string()),
  category: z.string().nullable(),
});
const checksSchema = z.array(wordsSchema);

export type StoredCheck = z.infer<typeof wordsSchema>;

/** Version 0 was never set. */
export interface Policy {
  /** The nil id for all tenants. */
  readonly tenantId: string;
  readonly level: ModerationLevel;
  readonly checks: readonly StoredCheck[];
  readonly version: number;
}

export const parseChecks = (checks: unknown): readonly StoredCheck[] => checksSchema.parse(checks);

/** A stored check, ready to be asked. */
export function toCheck({ name, mode, words, category }: StoredCheck, level: ModerationLevel): Check {
  const list = new WordList(words);
  return {
    name,
    level,
    mode,
    stages: ["PROMPT"],
    async judge({ texts }) {
      const found = texts.find(({ text }) => list.isIn(text));
      return found === undefined
        ? { isObjection: false, category: null }
        : { isObjection: true, category, path: found.path };
    },
  };
}
