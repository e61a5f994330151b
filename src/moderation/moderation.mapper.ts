/** Stored lists of checks and verdicts in their public form. */
import { toEtag } from "../platform/etag.ts";
import { toGlobalId } from "../platform/ids.ts";
import type { Policy, StoredCheck } from "./policy.ts";
import type { ModerationCheck, ModerationPolicy } from "./policy.type.ts";
import type { VerdictRow } from "./verdict.store.ts";
import type { ModerationVerdict } from "./verdict.type.ts";

/** @param showsWords whether the reader may see more of the checks than that they are there */
export function toPolicy(
  { level, checks, version }: Policy,
  { showsWords }: { showsWords: boolean },
): ModerationPolicy {
  return {
    level,
    checks: checks.map((check) => toModerationCheck(check, showsWords)),
    etag: toEtag(version),
  };
}

function toModerationCheck(check: StoredCheck, showsWords: boolean): ModerationCheck {
  if (check.kind === "HTTP") return { ...check, category: null, wordCount: null, words: null };
  const { words } = check;
  return {
    ...check,
    wordCount: words.length,
    words: showsWords ? words : null,
    stages: ["PROMPT"],
    whenUnavailable: null,
  };
}

export function toVerdict({ generationId, userId, checkName, ...row }: VerdictRow): ModerationVerdict {
  const { stage, imageIndex, level, decision, category, at } = row;
  return {
    stage,
    imageIndex,
    level,
    check: checkName,
    decision,
    category,
    at,
    generationId: generationId === null ? null : toGlobalId("Generation", generationId),
    userId: toGlobalId("User", userId),
  };
}
