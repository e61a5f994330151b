/** What a check is asked, and what it answers. */
import type { ModerationLevel, ModerationStage } from "../generated/prisma/enums.ts";

/** Text that somebody wrote, and where it stands in what they sent. */
export interface WrittenText {
  /** Such as ["input", "task", "textToImage", "prompt"]. */
  readonly path: readonly string[];
  readonly text: string;
}

/** What is to be judged. */
export interface Subject {
  readonly stage: "PROMPT";
  readonly tenantId: string;
  /** Of the generation that it belongs to, or will belong to. */
  readonly generationId: string;
  readonly texts: readonly WrittenText[];
}

export interface Finding {
  readonly isObjection: boolean;
  readonly category: string | null;
  /** Of the text that is objected to, when it is a certain one. */
  readonly path?: readonly string[];
}

/** BLOCK: what it objects to is refused. REPORT: it is noted only, to see what a check would do. */
export const ModerationMode = { BLOCK: "BLOCK", REPORT: "REPORT" } as const;
export type ModerationMode = keyof typeof ModerationMode;

/** One entry of a list of checks, ready to be asked. */
export interface Check {
  readonly name: string;
  readonly level: ModerationLevel;
  readonly mode: ModerationMode;
  readonly stages: readonly ModerationStage[];
  judge(subject: Subject): Promise<Finding>;
}
