/** A list of checks as it is stored. */
import { z } from "zod";
import type { ModerationLevel } from "../generated/prisma/enums.ts";
import { toGlobalId } from "../platform/ids.ts";
import { type Check, ModerationMode, STAGES, type Subject, WhenUnavailable } from "./check.ts";
import type { HttpChecker } from "./http-checker.ts";
import { WordList } from "./word-list.ts";

const base = {
  /** Unique in its list. */
  name: z.string(),
  mode: z.enum(ModerationMode),
};
const wordsSchema = z.object({
  kind: z.literal("WORDS"),
  ...base,
  words: z.array(z.string()),
  category: z.string().nullable(),
});
const httpSchema = z.object({
  kind: z.literal("HTTP"),
  ...base,
  stages: z.array(z.enum(STAGES)),
  whenUnavailable: z.enum(WhenUnavailable),
});
const checksSchema = z.array(z.discriminatedUnion("kind", [wordsSchema, httpSchema]));

type StoredWords = z.infer<typeof wordsSchema>;
type StoredHttp = z.infer<typeof httpSchema>;
export type StoredCheck = StoredWords | StoredHttp;

/** Version 0 was never set. */
export interface Policy {
  /** The nil id for all tenants. */
  readonly tenantId: string;
  readonly level: ModerationLevel;
  readonly checks: readonly StoredCheck[];
  readonly version: number;
}

export const parseChecks = (checks: unknown): readonly StoredCheck[] => checksSchema.parse(checks);

/** A stored check, ready to be asked. @param checker the operator's service, if there is one */
export const toCheck = (check: StoredCheck, level: ModerationLevel, checker: HttpChecker | undefined): Check =>
  check.kind === "WORDS" ? wordCheck(check, level) : httpCheck(check, level, checker);

function wordCheck({ name, mode, words, category }: StoredWords, level: ModerationLevel): Check {
  const list = new WordList(words);
  return {
    name,
    level,
    mode,
    stages: ["PROMPT"],
    whenUnavailable: "REFUSE", // it always can be asked
    async judge(subject) {
      const texts = subject.stage === "PROMPT" ? subject.texts : [];
      const found = texts.find(({ text }) => list.isIn(text));
      return found === undefined
        ? { isObjection: false, category: null }
        : { isObjection: true, category, path: found.path };
    },
  };
}

function httpCheck({ kind: _, ...check }: StoredHttp, level: ModerationLevel, checker: HttpChecker | undefined): Check {
  return {
    ...check,
    level,
    async judge(subject, signal) {
      const { stage, tenantId, generationId } = subject;
      const answer = await checker?.ask(await questionOf(subject), { stage, tenantId, generationId }, signal);
      return answer && { isObjection: answer.verdict === "BLOCK", category: answer.category ?? null };
    },
  };
}

/** The body of the request: docs/moderation.md. */
async function questionOf(subject: Subject): Promise<object> {
  const { stage } = subject;
  const tenantId = toGlobalId("Tenant", subject.tenantId);
  const generationId = toGlobalId("Generation", subject.generationId);
  if (stage === "PROMPT") {
    const texts = subject.texts.map(({ path, text }) => ({ field: path.at(-1), text }));
    return { stage, tenantId, generationId, texts };
  }
  const { index, mimeType, width, height, sha256, load } = subject.picture;
  const base64 = Buffer.from(await load()).toString("base64");
  return { stage, tenantId, generationId, image: { index, mimeType, width, height, sha256, base64 } };
}
