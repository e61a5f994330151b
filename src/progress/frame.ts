/**
 * What is said about a running generation: hints, lossy, newest wins. Every frame carries the `seq` of the newest
 * milestone before it, so that a client can resume from any event it received.
 */

interface FrameBase {
  readonly generationId: string;
  /** Newest milestone before the frame. */
  readonly seq: number;
  readonly attempt: number;
  /** Counts the frames of an attempt, from 1. */
  readonly frame: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export const STAGES = ["PREPARING", "DRAWING", "DECODING", "WRITING"] as const;
export type Stage = (typeof STAGES)[number];

export interface ProgressFrame extends FrameBase {
  readonly kind: "progress";
  readonly stage: Stage;
  readonly stepsDone: number;
  readonly totalSteps: number;
  /** Until the end of the attempt; undefined while too little is known. */
  readonly etaMs: number | undefined;
}

/** An unfinished picture: WebP, at most 256 pixels wide or high and 24 KiB. */
export interface PreviewFrame extends FrameBase {
  readonly kind: "preview";
  /** Picture of the generation. */
  readonly index: number;
  readonly width: number;
  readonly height: number;
  readonly webp: Uint8Array;
}

/** An unfinished answer: all of it, so that the newest frame replaces the others. */
export interface TextFrame extends FrameBase {
  readonly kind: "text";
  readonly text: string;
}

export type Frame = ProgressFrame | PreviewFrame | TextFrame;

/** A milestone was committed; it is read from the database, never from here. */
export interface MilestoneHint {
  readonly kind: "milestone";
  readonly generationId: string;
  readonly seq: number;
}

export type BusMessage = Frame | MilestoneHint;

/** Frames of the same slot replace each other: one for progress, one for text, one for each picture's preview. */
export const slotOf = (frame: Frame): string => (frame.kind === "preview" ? `preview ${frame.index}` : frame.kind);

/** Whether `frame` comes after `other` in the life of a generation. */
export const isNewer = (frame: Frame, other: Frame): boolean =>
  frame.attempt > other.attempt || (frame.attempt === other.attempt && frame.frame > other.frame);
