import type { BusMessage, Frame } from "./frame.ts";

/** How long the newest frames of a generation are kept for those who join late. */
export const NEWEST_FRAME_SECONDS = 60;

/**
 * Carries hints from the dispatcher to whoever watches a generation. Messages may be lost; their order within a
 * generation is kept. One of the four adapters.
 */
export interface FrameBus {
  publish(message: BusMessage): void;
  /** Calls `listener` with what is published about the generation from now on. @returns a function that stops it */
  subscribe(generationId: string, listener: (message: BusMessage) => void): Promise<() => void>;
  /** The newest frame of every slot of a generation, if it is younger than NEWEST_FRAME_SECONDS. */
  newest(generationId: string): Promise<readonly Frame[]>;
  close(): Promise<void>;
}
