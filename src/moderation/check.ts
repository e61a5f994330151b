/** What a check is asked, and what it answers. */
import type { ModerationLevel, ModerationStage } from "../generated/prisma/enums.ts";

/** Text that somebody wrote, and where it stands in what they sent. */
export interface WrittenText {
  /** Such as ["input", "task", "textToImage", "prompt"]. */
  readonly path: readonly string[];
  readonly text: string;
}

/** A picture that was drawn, before anybody sees it. */
export interface DrawnPicture {
  /** Which one of its generation. */
  readonly index: number;
  readonly mimeType: string;
  readonly width: number;
  readonly height: number;
  /** In hex. */
  readonly sha256: string;
  /** Of the file. */
  load(): Promise<Uint8Array>;
}

/** What is to be judged. */
export type Subject = {
  readonly tenantId: string;
  /** Of the generation that it belongs to, or will belong to. */
  readonly generationId: string;
} & (
  | { readonly stage: "PROMPT"; readonly texts: readonly WrittenText[] }
  | { readonly stage: "IMAGE"; readonly picture: DrawnPicture }
);

/** All there are, in the order in which a generation meets them. */
export const STAGES = ["PROMPT", "IMAGE"] as const satisfies readonly ModerationStage[];

export interface Finding {
  readonly isObjection: boolean;
  readonly category: string | null;
  /** Of the text that is objected to, when it is a certain one. */
  readonly path?: readonly string[];
}

export const CheckKind = { WORDS: "WORDS", HTTP: "HTTP" } as const;
export type CheckKind = keyof typeof CheckKind;

/** BLOCK: what it objects to is refused. REPORT: it is noted only, to see what a check would do. */
export const ModerationMode = { BLOCK: "BLOCK", REPORT: "REPORT" } as const;
export type ModerationMode = keyof typeof ModerationMode;

/** What becomes of something while its check cannot be asked: it passes, or it is refused for the time being. */
export const WhenUnavailable = { ALLOW: "ALLOW", REFUSE: "REFUSE" } as const;
export type WhenUnavailable = keyof typeof WhenUnavailable;

/** One entry of a list of checks, ready to be asked. */
export interface Check {
  readonly name: string;
  readonly level: ModerationLevel;
  readonly mode: ModerationMode;
  readonly stages: readonly ModerationStage[];
  readonly whenUnavailable: WhenUnavailable;
  /** Undefined when it could not be asked. @throws the signal's reason when it is aborted */
  judge(subject: Subject, signal: AbortSignal): Promise<Finding | undefined>;
}
